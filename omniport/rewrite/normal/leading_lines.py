"""Blank lines at the start of a body, and comments about attention processors, which a port has none of, go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import libcst as cst

from omniport.source.transform import transform

_Statement = TypeVar("_Statement", cst.SimpleStatementLine, cst.If, cst.For)
_PROCESSOR = re.compile(r"`?\w*Processor\b")


def tidy_leading_lines(node: cst.FunctionDef) -> cst.FunctionDef:
    """``node`` without such lines in front of its statements."""
    new = transform(node, _Lines())
    assert isinstance(new, cst.FunctionDef)
    return new


class _Lines(cst.CSTTransformer):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        return _spoken(updated_node)

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        return _spoken(updated_node)

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:
        return _spoken(updated_node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        body = updated_node.body
        first = body.body[0] if isinstance(body, cst.IndentedBlock) and body.body else None
        if not isinstance(first, cst.SimpleStatementLine | cst.If | cst.For | cst.With):
            return updated_node
        lines = first.leading_lines
        while lines and lines[0].comment is None:
            lines = lines[1:]
        if len(lines) == len(first.leading_lines):
            return updated_node
        rest = [first.with_changes(leading_lines=lines), *body.body[1:]]
        return updated_node.with_changes(body=body.with_changes(body=rest))


def _spoken(node: _Statement) -> _Statement:
    kept = [line for line in node.leading_lines if not _of_processor(line)]
    return node if len(kept) == len(node.leading_lines) else node.with_changes(leading_lines=_joined(kept))


def _of_processor(line: cst.EmptyLine) -> bool:
    return line.comment is not None and _PROCESSOR.search(line.comment.value) is not None


def _joined(lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """One blank line where a comment stood between two."""
    out: list[cst.EmptyLine] = []
    for line in lines:
        if line.comment is not None or not out or out[-1].comment is not None:
            out.append(line)
    return out
