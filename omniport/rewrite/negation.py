"""The opposite of a condition, as one would write it."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.syntax import code, expression

_OPPOSITE: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.Is: cst.IsNot,
    cst.IsNot: cst.Is,
    cst.Equal: cst.NotEqual,
    cst.NotEqual: cst.Equal,
    cst.In: cst.NotIn,
    cst.NotIn: cst.In,
}


def negated(test: cst.BaseExpression) -> cst.BaseExpression:
    """The opposite of a condition."""
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        return test.expression
    if isinstance(test, cst.Comparison) and len(test.comparisons) == 1:
        part = test.comparisons[0]
        opposite = _OPPOSITE.get(type(part.operator))
        if opposite is not None:
            return test.with_changes(comparisons=[part.with_changes(operator=opposite())])
    simple = isinstance(test, cst.Name | cst.Attribute | cst.Call | cst.Subscript)
    return expression(f"not {code(test)}" if simple else f"not ({code(test)})")
