"""Take the entries of parameters that are not there out of a Google-style docstring."""

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


def documented(text: str) -> tuple[str, ...]:
    """The names that the ``Args:`` section of ``text`` explains; an entry begins as deep as the first one."""
    found: list[str] = []
    depth: int | None = None
    section: int | None = None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if section is None:
            section = indent if re.match(r"\s*(Args|Arguments|Parameters):\s*$", line) else None
            continue
        if not line.strip():
            continue
        if indent <= section:
            break
        depth = indent if depth is None else depth
        entry = re.match(r"\s*(\w+)\s*(\(|:)", line)
        if entry and indent == depth:
            found.append(entry.group(1))
    return tuple(found)


def own_entries(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` with a docstring that explains no parameter that its constructor lacks."""
    first = node.body.body[0]
    if not isinstance(first, cst.SimpleStatementLine) or not isinstance(first.body[0], cst.Expr):
        return node
    string = first.body[0].value
    init = next((i for i in node.body.body if isinstance(i, cst.FunctionDef) and i.name.value == "__init__"), None)
    if not isinstance(string, cst.SimpleString) or init is None or init.params.star_kwarg is not None:
        return node
    taken = {p.name.value for p in (*init.params.params, *init.params.kwonly_params)}
    gone = set(documented(string.value)) - taken
    if not gone:
        return node
    new = string.with_changes(value=drop_entries(string.value, gone))
    line = first.with_changes(body=[first.body[0].with_changes(value=new)])
    return node.with_changes(body=node.body.with_changes(body=[line, *node.body.body[1:]]))


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
