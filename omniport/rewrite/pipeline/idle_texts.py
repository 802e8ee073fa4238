"""``caption.strip()`` as a statement makes a text that nothing keeps: the line goes."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, changed, indented, pure, rewrite_lines, suite
from omniport.rewrite.pipeline.walk import named_calls
from omniport.source.syntax import dotted

#: Methods that texts have, and nothing that changes by them.
_METHODS = frozenset(
    {"strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "removeprefix", "removesuffix"}
)


def without_idle_texts(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` without such lines; the same object if there is none."""
    if not any(name.rpartition(".")[2] in _METHODS for name, _ in named_calls(function)):
        return function

    def change(node: cst.SimpleStatementLine) -> Block:
        small = node.body[0]
        call = small.value if len(node.body) == 1 and isinstance(small, cst.Expr) else None
        name = dotted(call.func) if isinstance(call, cst.Call) else None
        if name is None or name.count(".") != 1 or not isinstance(call, cst.Call):
            return [node]
        idle = name.rpartition(".")[2] in _METHODS and all(pure(a.value) for a in call.args)
        return [] if idle else [node]

    block = rewrite_lines(suite(function.body), change, keep=True, comment=lambda _: True)
    return changed(function, body=indented(block, function.body))
