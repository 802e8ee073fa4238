"""Parts of an unpacked value that nothing reads have no name of their own: ``batch_size, _, channels = x.shape``."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import indented, suite
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
    change = _Unname({id(part) for part in parts if part.value in unread})
    block = [transform(s, change) if _holds(s, change.parts) else s for s in suite(method.body)]
    return method.with_changes(body=indented(block, method.body))


def _holds(statement: cst.CSTNode, parts: set[int]) -> bool:
    """Whether one of the parts stands in a statement: the others need not be made anew."""
    tuples = [t.target for t in of_kind(statement, cst.AssignTarget) if isinstance(t.target, cst.Tuple)]
    return any(id(e.value) in parts for t in tuples for e in t.elements)


class _Unname(cst.CSTTransformer):
    def __init__(self, parts: set[int]) -> None:
        self.parts = parts

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        return updated_node.with_changes(value=_NO_NAME) if id(original_node) in self.parts else updated_node
