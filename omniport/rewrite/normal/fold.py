"""Apply what the interpretation decided: branches taken, constants in place of names, variants in place of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import libcst as cst

from omniport.analyse.values import Const, Instances, Processor, Value
from omniport.analyse.variants import Notes
from omniport.rewrite.normal.inline_function import block
from omniport.source.transform import transform, with_body

Statement = cst.BaseStatement | cst.BaseSmallStatement


def fold(node: cst.ClassDef, notes: Notes, names: Mapping[str, str]) -> cst.ClassDef:
    """``node`` with every decided condition taken and every constant written out.

    Args:
        notes: what was decided, by node of ``node``.
        names: variant key -> class name in the port.
    """
    folder = _Folder(notes, names)
    members: list[Statement] = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef):
            member = with_body(member, folder.body(member.body.body) or [_pass()])
        members.append(member)
    return with_body(node, members)


def _pass() -> cst.SimpleStatementLine:
    return cst.SimpleStatementLine([cst.Pass()])


def literal(value: object) -> cst.BaseExpression:
    """A scalar as an expression, strings in double quotes."""
    if isinstance(value, str):
        text = repr(value)
        quoted = '"' + text[1:-1].replace('"', '\\"').replace("\\'", "'") + '"' if text[0] == "'" else text
        return cst.parse_expression(quoted)
    return cst.parse_expression(re.sub(r"e([+-])0+(?=\d)", r"e\1", repr(value)))


def _leaves(statement: Statement) -> bool:
    """Whether control never goes past ``statement``."""
    return isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[-1], cst.Return | cst.Raise)


def _is_condition(node: cst.BaseExpression) -> bool:
    """Whether ``node`` is True or False, not some other value."""
    return (
        isinstance(node, cst.Comparison) or isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not)
    )


class _Folder:
    def __init__(self, notes: Notes, names: Mapping[str, str]) -> None:
        self.notes = notes
        self.expressions = _Expressions(notes, names)

    def body(self, statements: Iterable[Statement]) -> list[Statement]:
        out: list[Statement] = []
        for statement in statements:
            if isinstance(statement, cst.If):
                out.extend(self.branch(statement))
                if out and _leaves(out[-1]):
                    break
            elif self.makes_processor(statement):
                continue
            elif isinstance(statement, cst.For | cst.While | cst.With):
                new = with_body(statement, self.body(statement.body.body) or [_pass()])
                if isinstance(new, cst.For):
                    iterated = self.expression(new.iter)
                    new = new if iterated is new.iter else new.with_changes(iter=iterated)
                elif isinstance(new, cst.While):
                    test = self.expression(new.test)
                    new = new if test is new.test else new.with_changes(test=test)
                out.append(new)
            else:
                new = transform(statement, self.expressions)
                assert isinstance(new, cst.BaseStatement | cst.BaseSmallStatement)
                out.append(new)
                if _leaves(new):
                    break
        return out

    def makes_processor(self, statement: Statement) -> bool:
        """``processor = SomeProcessor()``: its body is part of the forward already."""
        part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if not isinstance(part, cst.Assign):
            return False
        return isinstance(self.notes.values.get(part.value), Processor)

    def branch(self, node: cst.If) -> list[Statement]:
        taken = self.notes.truths.get(node.test)
        if taken is True:
            return self.body(node.body.body)
        if taken is False:
            if isinstance(node.orelse, cst.If):
                return self.branch(node.orelse)
            return self.body(node.orelse.body.body) if isinstance(node.orelse, cst.Else) else []
        body = with_body(node, self.body(node.body.body) or [_pass()]).body
        orelse: cst.If | cst.Else | None = None
        if isinstance(node.orelse, cst.If):
            inner = self.branch(node.orelse)
            if len(inner) == 1 and isinstance(inner[0], cst.If):
                orelse = inner[0]
            elif inner:
                orelse = cst.Else(block(inner))
        elif isinstance(node.orelse, cst.Else):
            inner = self.body(node.orelse.body.body)
            orelse = with_body(node.orelse, inner) if inner else None
        test = self.expression(node.test)
        if test is node.test and body is node.body and orelse is node.orelse:
            return [node]
        return [node.with_changes(test=test, body=body, orelse=orelse)]

    def expression(self, node: cst.BaseExpression) -> cst.BaseExpression:
        new = transform(node, self.expressions)
        assert isinstance(new, cst.BaseExpression)
        return new


class _Expressions(cst.CSTTransformer):
    def __init__(self, notes: Notes, names: Mapping[str, str]) -> None:
        self.notes, self.names = notes, names

    def _constant(self, node: cst.BaseExpression) -> Value | None:
        value = self.notes.values.get(node)
        return value if isinstance(value, Const) else None

    def _load(self, original: cst.BaseExpression, updated: cst.BaseExpression) -> cst.BaseExpression:
        value = self._constant(original)
        if isinstance(value, Const) and isinstance(value.value, bool | int | float | str | type(None)):
            return literal(value.value)
        return updated

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return self._load(original_node, updated_node)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return self._load(original_node, updated_node)

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        taken = self.notes.truths.get(original_node.test)
        if isinstance(taken, bool):
            chosen = updated_node.body if taken else updated_node.orelse
            return chosen.with_changes(lpar=(), rpar=()) if chosen.lpar else chosen
        return updated_node

    def leave_BooleanOperation(
        self, original_node: cst.BooleanOperation, updated_node: cst.BooleanOperation
    ) -> cst.BaseExpression:
        left = self._truth(original_node.left)
        stops = isinstance(original_node.operator, cst.Or)
        if left is None:
            right = self._truth(original_node.right)
            known = self._constant(original_node.right)
            certain = isinstance(known, Const) and isinstance(known.value, bool)
            plain = _is_condition(original_node.left) and (certain or _is_condition(original_node.right))
            return updated_node.left if plain and right is not None and right != stops else updated_node
        return updated_node.left if left == stops else updated_node.right

    def _truth(self, node: cst.BaseExpression) -> bool | None:
        taken = self.notes.truths.get(node)
        if isinstance(taken, bool):
            return taken
        value = self._constant(node)
        return bool(value.value) if isinstance(value, Const) else None

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        kept = []
        for before, after in zip(original_node.args, updated_node.args, strict=True):
            value = self._constant(before.value) if before.star else None
            if not (isinstance(value, Const) and not value.value):
                kept.append(after)
        if len(kept) != len(updated_node.args):
            kept[-1:] = [arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in kept[-1:]]
            updated_node = updated_node.with_changes(args=kept)
        if isinstance(original_node.func, cst.Attribute) and original_node.func.attr.value in ("get", "pop"):
            return self._load(original_node, updated_node)
        made = self.notes.targets.get(original_node)
        if isinstance(made, Instances):
            found = {self.names.get(variant) for variant in made.variants}
            if len(found) == 1 and (name := found.pop()) is not None:
                return updated_node.with_changes(func=cst.Name(name))
        return updated_node
