"""``if not output_type == "latent"`` of the reference is ``if output_type != "latent"``, as linters want it."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.negation import negated
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_NEGATABLE = (cst.Equal, cst.NotEqual, cst.In, cst.NotIn, cst.Is, cst.IsNot)


def plain_comparisons(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` with such comparisons by their opposite; the same object if there is none."""
    if not any(_negated(node) for node in of_kind(function, cst.UnaryOperation)):
        return function
    new = transform(function, _Plain())
    assert isinstance(new, cst.FunctionDef)
    return new


def _negated(node: cst.UnaryOperation) -> bool:
    """Whether a node is ``not`` of one comparison that has an opposite (``not a < b`` is none, for NaN)."""
    test = node.expression
    if not isinstance(node.operator, cst.Not) or not isinstance(test, cst.Comparison):
        return False
    return len(test.comparisons) == 1 and isinstance(test.comparisons[0].operator, _NEGATABLE)


class _Plain(cst.CSTTransformer):
    def leave_UnaryOperation(
        self, original_node: cst.UnaryOperation, updated_node: cst.UnaryOperation
    ) -> cst.BaseExpression:
        if not _negated(updated_node):
            return updated_node
        plain = negated(updated_node.expression)
        return plain.with_changes(lpar=updated_node.lpar, rpar=updated_node.rpar)
