"""Conditions that tell something of a value: whether it is there, how many axes it has."""

from __future__ import annotations

import ast


def ranked(test: ast.expr) -> tuple[str, int | None]:
    """``x.ndim == 2`` or ``x.dim() == 2``: the name and the number."""
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq):
        return "", None
    left = test.left.func if isinstance(test.left, ast.Call) else test.left
    rank = getattr(test.comparators[0], "value", None)
    if not isinstance(left, ast.Attribute) or left.attr not in ("ndim", "dim") or not isinstance(left.value, ast.Name):
        return "", None
    return left.value.id, rank if isinstance(rank, int) else None


def asked(test: ast.expr) -> tuple[str, bool] | None:
    """The attribute of ``self`` that a condition asks for alone, and whether it holds where the attribute is set."""
    wanted = True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, wanted = test.operand, False
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Is | ast.IsNot):
        if getattr(test.comparators[0], "value", ...) is not None:
            return None
        wanted = wanted == isinstance(test.ops[0], ast.IsNot)
        test = test.left
    own = isinstance(test, ast.Attribute) and isinstance(test.value, ast.Name) and test.value.id == "self"
    return (test.attr, wanted) if own and isinstance(test, ast.Attribute) else None
