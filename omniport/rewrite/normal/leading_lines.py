"""Lines in front of statements that a port does not keep.

Blank lines at the start of a body and before an ``else``; comments about what the port has none of, attention
processors, torch's own attention function, hooks of other libraries and marks of copies; what the reference's authors
have still to do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import libcst as cst

from omniport.source.transform import transform

_Statement = TypeVar("_Statement", cst.SimpleStatementLine, cst.If, cst.For)
#: A paragraph that speaks of one of these explains the reference, not the port.
_REFERENCE = re.compile(
    r"\w*Processor\b|\bprocessor\b|\battn\.\w+|\bscaled_dot_product_attention\b|\bsdpa?\b"
    r"|\baccelerate\b|# Copied from ",
    re.ASCII,
)
_TO_DO = re.compile(r"#\s*(#+\s*)?(TODO|FIXME|HACK|XXX)\b")


def tidy_leading_lines(node: cst.FunctionDef) -> cst.FunctionDef:
    """``node`` without such lines in front of its statements."""
    new = transform(node, _Lines())
    assert isinstance(new, cst.FunctionDef)
    return new


def close_docstrings(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` without blank lines between the docstring of a method and its body."""
    members = [_closed(member) for member in node.body.body]
    changed = any(new is not old for new, old in zip(members, node.body.body, strict=True))
    return node.with_changes(body=node.body.with_changes(body=members)) if changed else node


def _closed(member: Any) -> Any:
    if not isinstance(member, cst.FunctionDef) or member.get_docstring(clean=False) is None:
        return member
    line = member.body.body[1] if len(member.body.body) > 1 else None
    if not isinstance(line, cst.SimpleStatementLine | cst.If | cst.For | cst.With) or not line.leading_lines:
        return member
    kept = list(itertools.dropwhile(lambda blank: blank.comment is None, line.leading_lines))
    body = [member.body.body[0], line.with_changes(leading_lines=kept), *member.body.body[2:]]
    return member.with_changes(body=member.body.with_changes(body=body))


class _Lines(cst.CSTTransformer):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        return _spoken(updated_node)

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        orelse = updated_node.orelse
        if orelse is not None and orelse.leading_lines and orelse.leading_lines[0].comment is None:
            lines = [line for line in orelse.leading_lines if line.comment is not None]
            updated_node = updated_node.with_changes(orelse=orelse.with_changes(leading_lines=lines))
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
    kept = [line for paragraph in _paragraphs(node.leading_lines) for line in _kept(paragraph)]
    return node if len(kept) == len(node.leading_lines) else node.with_changes(leading_lines=_joined(kept))


def _paragraphs(lines: Sequence[cst.EmptyLine]) -> list[list[cst.EmptyLine]]:
    """Comment lines without a blank between them, and the blanks."""
    found: list[list[cst.EmptyLine]] = []
    for line in lines:
        if found and line.comment is not None and found[-1][-1].comment is not None:
            found[-1].append(line)
        else:
            found.append([line])
    return found


def _kept(paragraph: list[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """The lines up to what is still to do; none of a paragraph about the reference."""
    comments = [line.comment.value for line in paragraph if line.comment is not None]
    if any(_REFERENCE.search(comment) for comment in comments):
        return []
    end = next((index for index, comment in enumerate(comments) if _TO_DO.match(comment)), len(paragraph))
    return paragraph[:end]


def _joined(lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """One blank line where a comment stood between two."""
    out: list[cst.EmptyLine] = []
    for line in lines:
        if line.comment is not None or not out or out[-1].comment is not None:
            out.append(line)
    return out
