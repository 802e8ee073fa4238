"""Numbers of heads that a forward computes from sizes of its constructor are attributes of the class.

``head_dim = self.inner_dim // self.heads`` and ``kv_heads = self.inner_kv_dim // head_dim`` in a forward say how many
heads there are over all ranks; as attributes they are what :mod:`omniport.analyse` makes those of one rank.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.syntax import assignment, method, self_attribute, variables
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def head_numbers(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` with such numbers, and those that go with them, made in the constructor; itself if there are none."""
    init, forward = method(node, "__init__"), method(node, "forward")
    if init is None or forward is None:
        return node
    lines = _numbers(init, forward)
    if not any(_counts(value, lines) for value in lines.values()):
        return node
    taken = {name for part in of_kind(node, cst.Attribute) if (name := self_attribute(part))}
    if taken & lines.keys():
        return node
    rename = _Rename(set(lines))
    made = []
    for name, value in lines.items():
        text = transform(value, rename)
        assert isinstance(text, cst.BaseExpression)
        target = cst.AssignTarget(cst.Attribute(cst.Name("self"), cst.Name(name)))
        made.append(cst.SimpleStatementLine([cst.Assign([target], text)]))
    changed = transform(forward, _Drop(set(lines)))
    changed = transform(changed, rename)
    longer = init.with_changes(body=init.body.with_changes(body=[*init.body.body, *made]))
    items = [longer if item is init else changed if item is forward else item for item in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=items))


def _numbers(init: cst.FunctionDef, forward: cst.FunctionDef) -> dict[str, cst.BaseExpression]:
    """Locals of a forward, set once, that are products and quotients of attributes set once and of each other."""
    set_once = [self_attribute(pair[0]) for line in init.body.body if (pair := assignment(line)) is not None]
    stored = [self_attribute(t.target) for f in (init, forward) for t in of_kind(f, cst.AssignTarget)]
    bound = [t.target.value for t in of_kind(forward.body, cst.AssignTarget) if isinstance(t.target, cst.Name)]
    sizes = {name for name in set_once if name and stored.count(name) == 1}
    found: dict[str, cst.BaseExpression] = {}
    for line in forward.body.body:
        pair = assignment(line)
        name = pair[0].value if pair is not None and isinstance(pair[0], cst.Name) else ""
        if pair is not None and bound.count(name) == 1 and _quotient(pair[1], sizes, found):
            found[name] = pair[1]
    return found


def _quotient(value: cst.BaseExpression, sizes: set[str], found: dict[str, cst.BaseExpression]) -> bool:
    if not isinstance(value, cst.BinaryOperation) or not isinstance(value.operator, cst.FloorDivide):
        return False
    sides = (value.left, value.right)
    return all(self_attribute(side) in sizes or (isinstance(side, cst.Name) and side.value in found) for side in sides)


def _counts(value: cst.BaseExpression, lines: dict[str, cst.BaseExpression]) -> bool:
    """Whether a width is divided by the size of a head."""
    assert isinstance(value, cst.BinaryOperation)
    return bool(self_attribute(value.left)) and bool(set(variables(value.right)) & lines.keys())


class _Rename(cst.CSTTransformer):
    """``name`` as ``self.name``."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return cst.Attribute(cst.Name("self"), updated_node) if updated_node.value in self.names else updated_node

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
        return updated_node.with_changes(attr=original_node.attr)


class _Drop(cst.CSTTransformer):
    """Takes out the lines that set names."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        pair = assignment(original_node)
        drop = pair is not None and isinstance(pair[0], cst.Name) and pair[0].value in self.names
        return cst.RemoveFromParent() if drop else updated_node
