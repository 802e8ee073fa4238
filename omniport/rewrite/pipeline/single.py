"""``x = torch.cat([x], dim=0)`` copies a tensor into itself, and goes."""

from __future__ import annotations

import re

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, changed, indented, rewrite_lines, suite
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind

_JOINED = re.compile(r"(\w+) = torch\.(?:cat|concat)\(\[\1\](?:, (?:dim=)?-?\d+)?\)")


def without_single_joins(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` without such lines; the same object if there is none.

    The tensor is shared with its other names then, so that one which the method writes into is copied still.
    """
    lines = [line for line in of_kind(function, cst.SimpleStatementLine) if _joined(line)]
    written = {dotted(node.target) for node in of_kind(function, cst.AugAssign)}
    written |= {dotted(node.value) for t in of_kind(function, cst.AssignTarget) for node in of_kind(t, cst.Subscript)}
    written |= {dotted(n.value) for n in of_kind(function, cst.Attribute) if n.attr.value.endswith("_")}
    gone = [line for line in lines if _joined(line) not in written]
    if not gone:
        return function

    def change(line: cst.SimpleStatementLine) -> Block:
        return [] if line in gone else [line]

    return changed(function, body=indented(rewrite_lines(suite(function.body), change), function.body))


def _joined(line: cst.SimpleStatementLine) -> str | None:
    """The name of a line that joins one tensor with nothing."""
    small = line.body[0]
    if len(line.body) != 1 or not isinstance(small, cst.Assign):
        return None
    found = _JOINED.fullmatch(code(small).strip())
    return found[1] if found else None
