"""Small questions about libcst nodes that every room asks."""

from __future__ import annotations

import ast
import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import libcst as cst
from libcst._nodes.internal import CodegenState  # no public name makes text without noting positions

_NOTHING = nullcontext()


class _State(CodegenState):
    """Collects the tokens of a text; nobody asks where they stand, and noting it would cost most of the time."""

    def record_syntactic_position(self, *_: Any, **__: Any) -> AbstractContextManager[None]:  # type: ignore[override]
        return _NOTHING


def code(node: cst.CSTNode) -> str:
    """The source text of a node, indented by four blanks if it is no module with an indent of its own."""
    return _text(node)


@functools.lru_cache(maxsize=20_000)
def _text(node: cst.CSTNode) -> str:
    state = _State("    ", "\n")
    if isinstance(node, cst.Module):
        state = _State(node.default_indent, node.default_newline)
    node._codegen(state)
    return "".join(state.tokens)


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
