"""A component that was loaded is in its evaluation mode: ``self.text_encoder.eval()`` in each request says nothing."""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, indented, rewrite_lines, suite
from omniport.rewrite.pipeline.walk import named_calls
from omniport.source.syntax import dotted


def without_modes(function: cst.FunctionDef, components: Iterable[str]) -> cst.FunctionDef:
    """``function`` without such lines; the same object if there is none."""
    names = {f"self.{name}.eval" for name in components}
    if not any(name in names for name, _ in named_calls(function)):
        return function

    def change(node: cst.SimpleStatementLine) -> Block:
        small = node.body[0]
        call = small.value if len(node.body) == 1 and isinstance(small, cst.Expr) else None
        return [] if isinstance(call, cst.Call) and dotted(call.func) in names and not call.args else [node]

    block = rewrite_lines(suite(function.body), change, keep=True, comment=lambda _: True)
    return function.with_changes(body=indented(block, function.body))
