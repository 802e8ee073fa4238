"""A line that only copies a value for the next one goes: ``x = y`` ahead of ``x = f(x)``, which then reads ``y``.

It is what a doubled batch leaves: ``latent_model_input = torch.cat([latents] * 2)``, and the scaling of that.
"""

from __future__ import annotations

import re

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, assigned, changed, indented, reads, suite
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
    found = assigned(node)
    if found is None or cst.ensure_type(node, cst.SimpleStatementLine).trailing_whitespace.comment:
        return None
    name, value = found
    plain = isinstance(value, cst.Name) and value.value not in ("None", "True", "False")
    return (name, cst.ensure_type(value, cst.Name).value) if plain else None


def _idle(node: cst.CSTNode) -> bool:
    pair = _names(node)
    return pair is not None and pair[0] == pair[1]


def _reading(node: cst.CSTNode, name: str, value: str) -> cst.SimpleStatementLine | None:
    """``x = f(x)`` with what ``x`` is a copy of."""
    found = assigned(node)
    if found is None or name == value or found[0] != name or name not in reads(found[1]):
        return None
    if any(of_kind(found[1], kind) for kind in (*_LATER, cst.CompFor)):
        return None
    line = cst.ensure_type(node, cst.SimpleStatementLine)
    return changed(line, body=[line.body[0].with_changes(value=replace_names(found[1], {name: value}))])
