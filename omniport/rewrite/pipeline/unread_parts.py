"""Parts of an unpacked value that nothing reads have no name of their own: ``batch_size, _, channels = x.shape``."""

from __future__ import annotations

import libcst as cst

from omniport.source.transform import transform
from omniport.source.walk import of_kind

_NO_NAME = "_"
_SHARING: tuple[type[cst.CSTNode], ...] = (cst.Nonlocal, cst.Global)


def with_unread_parts(method: cst.FunctionDef) -> cst.FunctionDef:
    """The method with ``_`` for them; itself if every part is read, or where a scope inside shares names with it."""
    tuples = [t.target for t in of_kind(method, cst.AssignTarget) if isinstance(t.target, cst.Tuple)]
    parts = [e.value for t in tuples for e in t.elements if type(e) is cst.Element and isinstance(e.value, cst.Name)]
    if not parts or any(of_kind(method, kind) for kind in _SHARING):
        return method
    bound = {id(part) for part in parts}
    elsewhere = {name.value for name in of_kind(method, cst.Name) if id(name) not in bound}
    unread = {part.value for part in parts} - elsewhere - {_NO_NAME}
    if not unread or _NO_NAME in elsewhere:
        return method
    new = transform(method, _Unname({id(part) for part in parts if part.value in unread}))
    assert isinstance(new, cst.FunctionDef)
    return new


class _Unname(cst.CSTTransformer):
    def __init__(self, parts: set[int]) -> None:
        self.parts = parts

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        return updated_node.with_changes(value=_NO_NAME) if id(original_node) in self.parts else updated_node
