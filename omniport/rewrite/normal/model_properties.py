"""``self.dtype`` and ``self.device`` of a model, which its mixin gave it, are read off its parameters."""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_PROPERTIES = {"self.dtype": "next(self.parameters()).dtype", "self.device": "next(self.parameters()).device"}
_NAMES = frozenset(name.removeprefix("self.") for name in _PROPERTIES)


def model_properties(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` without reads of the two properties; unchanged where the class assigns them itself."""
    own = {dotted(part.target) for part in of_kind(node, cst.AssignTarget)}
    used = {name for name in _PROPERTIES if name not in own}
    if not any(part.attr.value in _NAMES and dotted(part) in used for part in of_kind(node, cst.Attribute)):
        return node
    new = transform(node, _Reads(used))
    assert isinstance(new, cst.ClassDef)
    return new


class _Reads(cst.CSTTransformer):
    def __init__(self, used: set[str]) -> None:
        self.used = used

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = dotted(original_node)
        return cst.parse_expression(_PROPERTIES[name]) if name in self.used and name else updated_node
