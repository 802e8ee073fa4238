"""A line that only copies a value for the next one goes: ``x = y`` ahead of ``x = f(x)``, which then reads ``y``.

It is what a doubled batch leaves: ``latent_model_input = torch.cat([latents] * 2)``, and the scaling of that.
"""

from __future__ import annotations

import re

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, changed, indented, reads, suite
from omniport.rewrite.pipeline.rename import replace_names
from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_COPY = re.compile(r"^ *(\w+) = (?:\1|(?!None\b|True\b|False\b)[A-Za-z_]\w*\n(?: *#.*\n|\n)* *\1 = .*)$", re.MULTILINE)
_LATER = (cst.Lambda, cst.NamedExpr)


def without_copies(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` without such lines, and without ``x = x``; the same object if there is none."""
    return transform(function, _Copies()) if _COPY.search(code(function)) else function


class _Copies(cst.CSTTransformer):
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        block = suite(updated_node)
        body: Block = []
        for node in block:
            pair = _names(body[-1]) if body else None
            if pair is not None and (new := _reading(node, *pair)) is not None:
                node = new.with_changes(leading_lines=[*body.pop().leading_lines, *node.leading_lines])
            body.append(node)
        kept = [node for node in body if not _idle(node)]
        return indented(kept, updated_node) if kept and len(kept) < len(block) else updated_node


def _names(node: cst.CSTNode) -> tuple[str, str] | None:
    """The two names of a line ``x = y`` without a comment behind it."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1 or node.trailing_whitespace.comment:  # type: ignore[attr-defined]
        return None
    target, value = small.targets[0].target, small.value
    if not isinstance(target, cst.Name) or not isinstance(value, cst.Name) or value.value in ("None", "True", "False"):
        return None
    return target.value, value.value


def _idle(node: cst.CSTNode) -> bool:
    pair = _names(node)
    return pair is not None and pair[0] == pair[1]


def _reading(node: cst.CSTNode, name: str, value: str) -> cst.SimpleStatementLine | None:
    """``x = f(x)`` with what ``x`` is a copy of."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1 or name == value:
        return None
    target = small.targets[0].target
    if not isinstance(target, cst.Name) or target.value != name or name not in reads(small.value):
        return None
    if any(of_kind(small, kind) for kind in (*_LATER, cst.CompFor)):
        return None
    line = cst.ensure_type(node, cst.SimpleStatementLine)
    return changed(line, body=[small.with_changes(value=replace_names(small.value, {name: value}))])
