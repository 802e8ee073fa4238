"""Take the entries of left-out parameters out of a Google-style docstring."""

from __future__ import annotations

import re
from collections.abc import Collection

import libcst as cst


def drop_entries(text: str, names: Collection[str]) -> str:
    """``text`` without the ``Args:`` entries of ``names``; an entry ends at the next line that is not deeper."""
    out: list[str] = []
    blank: list[str] = []  # blank lines that may belong to the entry being skipped
    skip: int | None = None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if skip is not None:
            if not line.strip():
                blank.append(line)
                continue
            if indent > skip:
                blank.clear()
                continue
            out += blank
            blank.clear()
            skip = None
        found = re.match(r"\s*(\w+)\s*(\(|:)", line)
        if found and found.group(1) in names:
            skip = indent
        else:
            out.append(line)
    return "\n".join(out)


class DropDocstringEntries(cst.CSTTransformer):
    """Apply :func:`drop_entries` to the docstring of every function."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        body = list(updated_node.body.body)
        first = body[0] if body else None
        if isinstance(first, cst.SimpleStatementLine) and isinstance(first.body[0], cst.Expr):
            string = first.body[0].value
            if isinstance(string, cst.SimpleString):
                new = string.with_changes(value=drop_entries(string.value, self.names))
                body[0] = first.with_changes(body=[first.body[0].with_changes(value=new)])
                return updated_node.with_changes(body=updated_node.body.with_changes(body=body))
        return updated_node
