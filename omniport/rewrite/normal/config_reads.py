"""``self.config.x`` of a model becomes an attribute that its constructor assigns."""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def config_reads(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` reading ``self.x`` for ``self.config.x``, with ``self.x = x`` in the constructor.

    Where the constructor assigns something else to ``self.x`` (``out_channels or in_channels``), the config's value
    becomes ``self.config_x``.
    """
    found: dict[str, None] = {}
    for read in of_kind(node, cst.Attribute):
        if _of_config(read):
            found[read.attr.value] = None
    if not found:
        return node
    assigned: dict[str, str] = {}
    asked = found.keys() | {f"config_{name}" for name in found}
    for part in of_kind(node, cst.Assign):
        for target in part.targets:
            if (name := (dotted(target.target) or "").removeprefix("self.")) in asked:
                assigned[name] = code(part.value)
    names = {name: name if assigned.get(name, name) == name else f"config_{name}" for name in found}
    missing = [
        cst.parse_statement(f"self.{attribute} = {name}")
        for name, attribute in names.items()
        if assigned.get(attribute) != name
    ]
    new = transform(node, _Reads(names))
    assert isinstance(new, cst.ClassDef)
    members = []
    for member in new.body.body:
        if isinstance(member, cst.FunctionDef) and member.name.value == "__init__":
            body = list(member.body.body)
            at = next((i for i, s in enumerate(body) if "super().__init__()" in code(s)), -1) + 1
            member = member.with_changes(body=member.body.with_changes(body=[*body[:at], *missing, *body[at:]]))
        members.append(member)
    return new.with_changes(body=new.body.with_changes(body=members))


def _of_config(node: cst.Attribute) -> bool:
    return type(node.value) is cst.Attribute and dotted(node.value) == "self.config"


class _Reads(cst.CSTTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> bool:
        return any(map(_of_config, of_kind(node, cst.Attribute)))

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if not _of_config(original_node):
            return updated_node
        return cst.Attribute(cst.Name("self"), cst.Name(self.names[original_node.attr.value]))
