"""Transforming without rebuilding: libcst's own result, and the same objects where nothing changed."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.source.transform import replaced, transform
from omniport.source.walk import walk

TEXT = '''
import os, sys

@decorated(flag=old)
class Block(Base, metaclass=Meta):
    """Holds ``old``."""

    def forward(self, first, /, x: old = old, *args: int, y=1, **kwargs) -> old:
        # a comment that stays
        if old is None and (x or y):
            x = self.old(x, old=old)[0]
        elif y:
            del x; y = old
        else:
            y = 2; drop()
        for i, z in enumerate(old):
            drop()
        with open(old) as f, lock:
            return [a if old else b for a in old if a] + {k: v for k, v in x.items()} + f"{old!r} {x:>{y}}"
        while x < y < old:
            lambda p, q=old: p + q
        try:
            assert old, "why"
        except (Old, ValueError) as e:
            raise e from old
        finally:
            x[old:, ..., 1] += -old
'''


class Rename(cst.CSTTransformer):
    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return updated_node.with_changes(value="new") if original_node.value == "old" else updated_node


class NoKeywords(Rename):
    """Skips what a field hook names."""

    def visit_Arg_keyword(self, node: cst.Arg) -> None:
        self.skip = node.keyword

    def visit_Attribute_attr(self, node: cst.Attribute) -> None:
        self.skip = node.attr

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        if original_node is getattr(self, "skip", None):
            return updated_node
        return super().leave_Name(original_node, updated_node)


class Remove(cst.CSTTransformer):
    """Takes out statements, parts of a line, arguments, defaults, an ``else``."""

    def leave_Expr(self, original_node: cst.Expr, updated_node: cst.Expr) -> cst.Expr | cst.RemovalSentinel:
        called = isinstance(original_node.value, cst.Call)
        return cst.RemoveFromParent() if called else updated_node

    def leave_Del(self, original_node: cst.Del, updated_node: cst.Del) -> cst.Del | cst.RemovalSentinel:
        return cst.RemoveFromParent()

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg | cst.RemovalSentinel:
        return cst.RemoveFromParent() if original_node.keyword is not None else updated_node

    def leave_Annotation(
        self, original_node: cst.Annotation, updated_node: cst.Annotation
    ) -> cst.Annotation | cst.RemovalSentinel:
        return cst.RemoveFromParent()

    def leave_Finally(self, original_node: cst.Finally, updated_node: cst.Finally) -> cst.RemovalSentinel:
        return cst.RemoveFromParent()


class Double(cst.CSTTransformer):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.FlattenSentinel[cst.SimpleStatementLine]:
        return cst.FlattenSentinel([updated_node, updated_node])


class Order(cst.CSTTransformer):
    """Changes nothing; writes down when it saw what, and does not look into loops."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def visit_For(self, node: cst.For) -> bool:
        self.seen.append("for")
        return False

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:
        assert original_node is updated_node
        self.seen.append("end of for")
        return updated_node

    def visit_Name(self, node: cst.Name) -> None:
        self.seen.append(node.value)

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        self.seen.append(node.value)


@pytest.mark.parametrize("kind", [Rename, NoKeywords, Remove, Double, Order])
def test_gives_what_visit_gives(kind: type[cst.CSTTransformer]) -> None:
    module = cst.parse_module(TEXT)
    expected = module.visit(kind())
    found = transform(module, kind())
    assert found.code == expected.code
    assert (found.code == TEXT) is (kind is Order)  # every other one has something to do


def test_hooks_run_in_the_order_of_the_source() -> None:
    ours, theirs = Order(), Order()
    module = cst.parse_module(TEXT)
    transform(module, ours)
    module.visit(theirs)
    assert ours.seen == theirs.seen
    assert len(ours.seen) > 40


def test_what_does_not_change_stays_the_same_object() -> None:
    module = cst.parse_module("def f(a):\n    return a\n\n\ndef g(old):\n    return old\n")
    new = transform(module, Rename())
    assert new.body[0] is module.body[0]
    assert new.body[1] is not module.body[1]
    assert transform(module, Order()) is module
    assert {id(n) for n in walk(transform(module, Order()))} == {id(n) for n in walk(module)}


def test_a_node_that_must_be_there_cannot_be_removed() -> None:
    class Gone(cst.CSTTransformer):
        def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.RemovalSentinel:  # type: ignore[override]
            return cst.RemoveFromParent()

    with pytest.raises(TypeError, match="cannot become"):
        transform(cst.parse_module("x = 1\n"), Gone())


def test_hooks_that_would_never_run_are_refused() -> None:
    class OnComma(cst.CSTTransformer):
        def leave_Comma(self, original_node: cst.Comma, updated_node: cst.Comma) -> cst.Comma:
            return updated_node

    class OnLeave(cst.CSTTransformer):
        def on_leave(self, original_node, updated_node):  # type: ignore[no-untyped-def]
            return updated_node

    class AfterField(cst.CSTTransformer):
        def leave_Attribute_attr(self, node: cst.Attribute) -> None: ...

    for kind in (OnComma, OnLeave, AfterField):
        with pytest.raises(TypeError, match="is no hook"):
            transform(cst.parse_module("x = 1\n"), kind())


def test_replaced_takes_the_outermost_choice_and_keeps_the_other_objects() -> None:
    before = cst.parse_expression("f(2 * (2 * a), b.c, d=e)")

    def half(node: cst.CSTNode) -> cst.CSTNode | None:
        return node.right if isinstance(node, cst.BinaryOperation) else None

    after = replaced(before, half)
    assert cst.Module([]).code_for_node(after) == "f((2 * a), b.c, d=e)"  # not "f(a, b.c, d=e)"
    assert isinstance(before, cst.Call) and isinstance(after, cst.Call)
    assert after.args[1] is before.args[1] and after.args[2] is before.args[2]
    assert replaced(before, lambda node: None) is before
