"""Take the markers of :mod:`omniport.source.slice` off a tree, so that its text need not be parsed once more."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import libcst as cst

from omniport.source.walk import IS_NODE, unshared

_MARK = re.compile(r"[ \t]*#@[^\s:]+:\d+[ \t]*$")
_BODIES = ("body", "orelse", "finalbody")
_INDENT = 4

N = TypeVar("N", bound=cst.CSTNode)


def unmarked(classes: Iterable[cst.ClassDef], width: int) -> tuple[tuple[cst.ClassDef, ...], int]:
    """The classes without markers, and without a node that stands in two places: what a parser would make of their
    text, but for blanks; and how many comments longer than ``width`` were wrapped."""
    strip = _Strip(width)
    seen: set[int] = set()
    return tuple(strip.statement(unshared(node, seen), 0) for node in classes), strip.wrapped


def wrapped(comment: str, column: int, width: int) -> list[str]:
    """A comment that stands alone, in lines that end before ``width``; as it is where it does."""
    if column + len(comment) <= width or not comment.startswith("# "):
        return [comment]
    return [f"# {line}" for line in textwrap.wrap(comment[2:], width - column - 2)]


class _Strip:
    """Goes over statements; ``wrapped`` counts comments."""

    def __init__(self, width: int) -> None:
        self.width, self.wrapped = width, 0

    def statement(self, node: N, column: int) -> N:
        changes: dict[str, Any] = {}
        for name in ("leading_lines", "lines_after_decorators"):
            lines = getattr(node, name, None)
            if lines and (kept := self.lines(lines, column)) is not lines:
                changes[name] = kept
        if isinstance(node, cst.SimpleStatementLine):
            if (end := _end(node.trailing_whitespace)) is not node.trailing_whitespace:
                changes["trailing_whitespace"] = end
            return node.with_changes(**changes) if changes else node
        for name in _BODIES:
            inner: Any = getattr(node, name, None)
            if IS_NODE[type(inner)]:
                block = isinstance(inner, cst.IndentedBlock)
                new = self.block(inner, column) if block else self.statement(inner, column)
                if new is not inner:
                    changes[name] = new
        if handlers := getattr(node, "handlers", ()):
            changes["handlers"] = [self.statement(handler, column) for handler in handlers]
        return node.with_changes(**changes) if changes else node

    def block(self, block: cst.IndentedBlock, column: int) -> cst.IndentedBlock:
        changes: dict[str, Any] = {}
        column += _INDENT if block.indent is None else len(block.indent)
        body = [self.statement(node, column) for node in block.body]
        if any(new is not old for new, old in zip(body, block.body, strict=True)):
            changes["body"] = body
        if (header := _end(block.header)) is not block.header:
            changes["header"] = header
        if (footer := self.lines(block.footer, column)) is not block.footer:
            changes["footer"] = footer
        return block.with_changes(**changes) if changes else block

    def lines(self, lines: Sequence[cst.EmptyLine], column: int) -> Sequence[cst.EmptyLine]:
        """Lines that hold nothing but a marker go."""
        kept: list[cst.EmptyLine] = []
        for line in lines:
            old = line.comment.value if line.comment is not None else ""
            text = _MARK.sub("", old) if "#@" in old else old
            if old and not text:
                continue
            at = column * line.indent + len(line.whitespace.value)
            parts = wrapped(text, at, self.width) if text else []
            self.wrapped += len(parts) > 1
            new = [line.with_changes(comment=cst.Comment(part)) for part in parts]
            kept += [line] if parts == [old] or not old else new
        same = len(kept) == len(lines) and all(new is old for new, old in zip(kept, lines, strict=True))
        return lines if same else kept


def _end(end: cst.TrailingWhitespace) -> cst.TrailingWhitespace:
    """The end of a line."""
    text = end.comment.value if end.comment is not None else ""
    if "#@" not in text or (left := _MARK.sub("", text)) == text:
        return end
    if left:
        return end.with_changes(comment=cst.Comment(left))
    return end.with_changes(whitespace=cst.SimpleWhitespace(""), comment=None)
