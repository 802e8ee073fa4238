"""Expressions that folding left longer than what they say.

* ``int(dim * 4.0)`` with an integer ``dim`` is ``dim * 4``, ``int(dim * 1)`` is ``dim``;
* ``x = x / 1.0`` of a module's result goes;
* ``True if a == b else False`` is ``a == b``;
* ``kind = "a" if last else "b"`` that is only compared: ``kind == "a"`` is ``last``;
* ``getattr(self, "to_out", None)`` of an attribute that the constructor always sets is ``self.to_out``;
* an ``if`` that does nothing goes.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.normal.dead_code import pure
from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import code, constant, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk

_COMPARISONS = cst.Equal | cst.NotEqual | cst.Is | cst.IsNot | cst.In | cst.NotIn
_COMPARISONS |= cst.LessThan | cst.LessThanEqual | cst.GreaterThan | cst.GreaterThanEqual


def simplify(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """One round over the methods of a class; the same object if there is nothing to say shorter."""
    own = facts.classes[node.name.value]
    always = _always_set(own.function("__init__"))
    members = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef):
            stores = own.stores.get(member.name.value, {})
            known = _Simplify(_integers(member, stores), _switches(member, stores), always, _computed(member))
            member = transform(member, known)
        members.append(member)
    if all(new is old for new, old in zip(members, node.body.body, strict=True)):
        return node
    return node.with_changes(body=node.body.with_changes(body=members))


def _integers(function: cst.FunctionDef, stores: dict[str, int]) -> set[str]:
    """Parameters that are annotated as integers and never bound anew."""
    params = (p for p in function.params.params if p.annotation is not None and p.name.value not in stores)
    return {p.name.value for p in params if p.annotation is not None and code(p.annotation.annotation) == "int"}


def _switches(function: cst.FunctionDef, stores: dict[str, int]) -> dict[str, cst.IfExp]:
    """Locals bound once, to one of two different constants, by a condition whose names keep their values."""
    found: dict[str, cst.IfExp] = {}
    for line in function.body.body:
        part = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
        if not isinstance(part, cst.Assign) or len(part.targets) != 1 or not isinstance(part.value, cst.IfExp):
            continue
        target, value = part.targets[0].target, part.value
        first, second = constant(value.body), constant(value.orelse)
        if not isinstance(target, cst.Name) or not isinstance(first, str) or not isinstance(second, str):
            continue
        names = [n.value for n in walk(value.test) if isinstance(n, cst.Name)]
        fixed = pure(value.test) and not any(name in stores for name in names) and "self" not in names
        if first != second and fixed and stores.get(target.value) == 1:
            found[target.value] = value
    return found


def _computed(function: cst.FunctionDef) -> set[str]:
    """Names bound to what a module computes, which is no integer."""
    found: set[str] = set()
    for part in of_kind(function, cst.Assign):
        if len(part.targets) == 1 and isinstance(part.value, cst.Call):
            called, target = part.value.func, part.targets[0].target
            called = called.value if isinstance(called, cst.Subscript) else called
            if isinstance(target, cst.Name) and (dotted(called) or "").startswith("self."):
                found.add(target.value)
    return found


def _always_set(init: cst.FunctionDef | None) -> set[str]:
    """Attributes that every way through the constructor binds."""
    return _set_by(init.body.body) if init is not None else set()


def _set_by(body: Sequence[cst.CSTNode]) -> set[str]:
    found: set[str] = set()
    for line in body:
        if isinstance(line, cst.If) and isinstance(line.orelse, cst.If | cst.Else):
            other = [line.orelse] if isinstance(line.orelse, cst.If) else line.orelse.body.body
            ways = [_set_by(way) for way in (line.body.body, other) if not _raises(way)]
            found |= set.intersection(*ways) if ways else set()
        part = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
        for target in part.targets if isinstance(part, cst.Assign) else ():
            name = dotted(target.target) or ""
            if name.startswith("self.") and name.count(".") == 1:
                found.add(name[5:])
    return found


def _raises(body: Sequence[cst.CSTNode]) -> bool:
    last = body[-1] if body else None
    return isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], cst.Raise)


class _Simplify(cst.CSTTransformer):
    def __init__(
        self, integers: set[str], switches: dict[str, cst.IfExp], always: set[str], computed: set[str]
    ) -> None:
        self.integers, self.switches, self.always, self.computed = integers, switches, always, computed

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> bool:
        if of_kind(node, cst.IfExp) or bool(self.switches) and bool(of_kind(node, cst.Comparison)):
            return True
        return any(dotted(call.func) in ("int", "getattr") for call in of_kind(node, cst.Call))

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        name, args = dotted(updated_node.func), [arg.value for arg in updated_node.args]
        if name == "int" and len(args) == 1 and isinstance(args[0], cst.BinaryOperation):
            return self.product(args[0]) or updated_node
        if name == "getattr" and len(args) in (2, 3) and dotted(args[0]) == "self":
            attribute = constant(args[1])
            if isinstance(attribute, str) and attribute in self.always:
                return cst.Attribute(cst.Name("self"), cst.Name(attribute))
        return updated_node

    def product(self, node: cst.BinaryOperation) -> cst.BaseExpression | None:
        """``dim * 4.0`` as an integer expression."""
        if not isinstance(node.operator, cst.Multiply):
            return None
        sides = [node.left, node.right]
        for side, other in (sides, sides[::-1]):
            factor = constant(other)
            whole = isinstance(factor, int | float) and not isinstance(factor, bool) and factor == int(factor)
            if isinstance(side, cst.Name) and side.value in self.integers and whole:
                number = cst.Integer(str(int(factor)))
                if factor == 1:
                    return side
                left, right = (side, number) if other is node.right else (number, side)
                return node.with_changes(left=left, right=right)
        return None

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        if (constant(updated_node.body), constant(updated_node.orelse)) == (True, False) and _boolean(
            updated_node.test
        ):
            return updated_node.test
        return updated_node

    def leave_Comparison(self, original_node: cst.Comparison, updated_node: cst.Comparison) -> cst.BaseExpression:
        switch = self.switches.get(dotted(original_node.left) or "")
        target = updated_node.comparisons[0]
        compared = constant(target.comparator)
        if switch is None or len(updated_node.comparisons) != 1 or not isinstance(compared, str):
            return updated_node
        if not isinstance(target.operator, cst.Equal | cst.NotEqual):
            return updated_node
        ways = [constant(switch.body) == compared, constant(switch.orelse) == compared]
        ways = [not way for way in ways] if isinstance(target.operator, cst.NotEqual) else ways
        if ways[0] == ways[1]:
            return cst.Name(str(ways[0]))
        if ways[0]:
            return switch.test.deep_clone()
        return cst.UnaryOperation(cst.Not(), _wrapped(switch.test.deep_clone()))

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        part = updated_node.body[0]
        if isinstance(part, cst.Assign) and len(part.targets) == 1 and isinstance(part.value, cst.BinaryOperation):
            value, name = part.value, part.targets[0].target
            one = constant(value.right)
            divided = isinstance(value.operator, cst.Divide) and isinstance(one, float) and one == 1.0
            if divided and isinstance(name, cst.Name) and code(value.left) == name.value in self.computed:
                return cst.RemoveFromParent()
        return updated_node

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If | cst.RemovalSentinel:
        nothing = all(
            isinstance(line, cst.SimpleStatementLine) and all(isinstance(part, cst.Pass) for part in line.body)
            for line in updated_node.body.body
        )
        if nothing and updated_node.orelse is None and pure(updated_node.test):
            return cst.RemoveFromParent()
        return updated_node


def _boolean(node: cst.BaseExpression) -> bool:
    """Whether an expression is a bool, not only true or false."""
    if isinstance(node, cst.Comparison):
        return all(isinstance(target.operator, _COMPARISONS) for target in node.comparisons)
    if isinstance(node, cst.BooleanOperation):
        return _boolean(node.left) and _boolean(node.right)
    return isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not)


def _wrapped(node: cst.BaseExpression) -> cst.BaseExpression:
    if isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Subscript) or node.lpar:
        return node
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
