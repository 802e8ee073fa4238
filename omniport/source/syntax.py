"""Small questions about libcst nodes that every room asks."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from typing import Any

import libcst as cst

from omniport.source.text import code as code


def dotted(node: cst.CSTNode) -> str | None:
    """``a.b.c`` for a name or a chain of attributes, None for anything else."""
    if type(node) is cst.Name:
        return node.value
    if type(node) is cst.Attribute:
        base = dotted(node.value)
        return None if base is None else f"{base}.{node.attr.value}"
    return None


def constant(node: cst.CSTNode | None) -> Any:
    """The value of a scalar literal (or of an empty tuple, list or dict); ``...`` if it is none."""
    if type(node) is cst.Name:
        return _NAMED.get(node.value, ...)
    if type(node) is cst.Tuple or type(node) is cst.List or type(node) is cst.Dict:
        return _EMPTY_KINDS[type(node)]() if not node.elements else ...
    scalar = node.expression if type(node) is cst.UnaryOperation else node
    return _literal(node) if node is not None and type(scalar) in _SCALARS else ...


_NAMED = {"None": None, "True": True, "False": False}
_SCALARS = frozenset({cst.Integer, cst.Float, cst.SimpleString, cst.ConcatenatedString})
_EMPTY_KINDS: dict[type, type] = {cst.Tuple: tuple, cst.List: list, cst.Dict: dict}


@functools.lru_cache(maxsize=20_000)
def _literal(node: cst.CSTNode) -> Any:
    try:
        return ast.literal_eval(f"({code(node)})")  # strings of several lines
    except ValueError:
        return ...


def conjuncts(test: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """The conditions of ``a and b and c``; a condition alone is its own."""
    if isinstance(test, cst.BooleanOperation) and isinstance(test.operator, cst.And):
        yield from conjuncts(test.left)
        yield from conjuncts(test.right)
    else:
        yield test
