"""Small questions about libcst nodes that every room asks."""

from __future__ import annotations

import ast
from typing import Any

import libcst as cst

_EMPTY = cst.Module([])


def code(node: cst.CSTNode) -> str:
    """The source text of a node."""
    return _EMPTY.code_for_node(node)


def dotted(node: cst.CSTNode) -> str | None:
    """``a.b.c`` for a name or a chain of attributes, None for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted(node.value)
        return None if base is None else f"{base}.{node.attr.value}"
    return None


def constant(node: cst.CSTNode | None) -> Any:
    """The value of a scalar literal (or of an empty tuple, list or dict); ``...`` if it is none."""
    if isinstance(node, cst.Name):
        return {"None": None, "True": True, "False": False}.get(node.value, ...)
    scalar = cst.Integer | cst.Float | cst.SimpleString | cst.ConcatenatedString
    if isinstance(node, scalar) or (isinstance(node, cst.UnaryOperation) and isinstance(node.expression, scalar)):
        try:
            return ast.literal_eval(code(node))
        except ValueError:
            return ...
    if isinstance(node, cst.Tuple | cst.List | cst.Dict) and not node.elements:
        return ast.literal_eval(code(node))
    return ...
