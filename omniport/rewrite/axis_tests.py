"""Conditions on a number of axes that the plan says the value of: the branch that is taken stands by itself."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.axis_tests import SUBJECT
from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import code
from omniport.source.transform import transform


def settle_axis_tests(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """``node`` without the conditions that are settled; the same object if it has none."""
    start = f"{SUBJECT}{node.name.value}: "
    known = {d.subject.removeprefix(start): bool(d.value) for d in plan.decisions if d.subject.startswith(start)}
    if not known:
        return node
    new = transform(node, _Settle(known))
    assert isinstance(new, cst.ClassDef)
    return new


class _Settle(cst.CSTTransformer):
    def __init__(self, known: dict[str, bool]) -> None:
        self.known = known

    def leave_If(
        self, original_node: cst.If, updated_node: cst.If
    ) -> cst.If | cst.RemovalSentinel | cst.FlattenSentinel[cst.BaseStatement]:
        value = self.known.get(code(original_node.test))
        if value is None:
            return updated_node
        if value:
            return _opened(updated_node, updated_node.body)
        if isinstance(updated_node.orelse, cst.If):
            return updated_node.orelse.with_changes(leading_lines=updated_node.leading_lines)
        if updated_node.orelse is None:
            return cst.RemoveFromParent()
        return _opened(updated_node, updated_node.orelse.body)


def _opened(node: cst.If, block: cst.BaseSuite) -> cst.FlattenSentinel[cst.BaseStatement]:
    """The lines of a branch in place of the condition, under its comments."""
    first, *rest = block.body
    lines = [*node.leading_lines, *getattr(first, "leading_lines", ())]
    return cst.FlattenSentinel([first.with_changes(leading_lines=lines), *rest])
