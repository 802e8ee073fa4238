"""``batch, length, _ = x.shape`` of which only the batch is read says ``batch = x.shape[0]``."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.usage import Usage
from omniport.source.transform import transform


def shorten_shapes(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``node`` without unpacked shapes of which one size is read; the same object if there are none."""
    loads = facts.classes[node.name.value].loads
    members = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef):
            member = transform(member, _Shapes(set(loads.get(member.name.value, {}))))
        members.append(member)
    if all(new is old for new, old in zip(members, node.body.body, strict=True)):
        return node
    return node.with_changes(body=node.body.with_changes(body=members))


class _Shapes(cst.CSTTransformer):
    def __init__(self, read: set[str]) -> None:
        self.read = read

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        target, value = updated_node.targets[0].target, updated_node.value
        shape = isinstance(value, cst.Attribute) and value.attr.value == "shape" and isinstance(value.value, cst.Name)
        if len(updated_node.targets) != 1 or not shape or not isinstance(target, cst.Tuple):
            return updated_node
        names = [element.value for element in target.elements if isinstance(element, cst.Element)]
        if not all(isinstance(name, cst.Name) for name in names) or len(names) < len(target.elements):
            return updated_node
        read = [at for at, name in enumerate(names) if isinstance(name, cst.Name) and name.value in self.read]
        if len(read) != 1:
            return updated_node
        index = cst.SubscriptElement(cst.Index(cst.Integer(str(read[0]))))
        name = names[read[0]]
        assert isinstance(name, cst.Name)
        return updated_node.with_changes(targets=[cst.AssignTarget(name)], value=cst.Subscript(value, [index]))
