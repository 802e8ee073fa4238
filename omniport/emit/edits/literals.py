"""Elements of dict, set and list literals in a Python file, put in and taken out line by line; nothing else changes."""

from __future__ import annotations

import ast

from omniport.errors import UnsupportedError

Literal = ast.Dict | ast.Set | ast.List
_BOM = "\ufeff"


def parse(text: str, file: str) -> ast.Module:
    """The tree of a file; raises UnsupportedError where it is not valid Python."""
    try:
        return ast.parse(text.removeprefix(_BOM))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UnsupportedError(f"not valid Python: {error}", file) from None


def assigned(tree: ast.Module, name: str) -> Literal | None:
    """The literal that is bound to ``name`` at module level."""
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            return value if isinstance(value, Literal) else None
    return None


def updated(tree: ast.Module, name: str) -> ast.Dict | None:
    """The literal in ``name.update({...})`` at module level."""
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{name}.update" and len(call.args) == 1:
            return call.args[0] if isinstance(call.args[0], ast.Dict) else None
    return None


def keys(literal: Literal) -> dict[str, tuple[int, int]]:
    """Key (or string element) -> its first and last line, 1-based."""
    if isinstance(literal, ast.Dict):
        pairs = [(k, v) for k, v in zip(literal.keys, literal.values, strict=True) if k is not None]
    else:
        pairs = [(e, e) for e in literal.elts]
    return {
        k.value: (k.lineno, v.end_lineno or v.lineno)
        for k, v in pairs
        if isinstance(k, ast.Constant) and isinstance(k.value, str)
    }


def insert(text: str, literal: Literal, element: str, file: str) -> str:
    """``text`` with ``element`` (without comma; its lines indented relative to it) as the last one of ``literal``.

    Raises:
        UnsupportedError: the literal does not have one element a line.
    """
    lines = text.splitlines(keepends=True)
    elements = [*literal.values] if isinstance(literal, ast.Dict) else literal.elts
    first, end = literal.lineno, literal.end_lineno or literal.lineno
    if not elements or first == end or (elements[-1].end_lineno or 0) >= end:
        raise UnsupportedError("a literal that does not have one element a line; add the row by hand", file, first)
    newline = "\r\n" if lines[end - 1].endswith("\r\n") or lines[first - 1].endswith("\r\n") else "\n"
    last = elements[-1]
    at = (last.end_lineno or last.lineno) - 1
    raw = lines[at].encode("utf-8")
    if not raw[last.end_col_offset :].lstrip().startswith(b","):
        lines[at] = (raw[: last.end_col_offset] + b"," + raw[last.end_col_offset :]).decode("utf-8")
    start = _first_line(literal)
    indent = lines[start - 1][: len(lines[start - 1]) - len(lines[start - 1].lstrip())]
    made = "".join(f"{indent}{line}{newline}" for line in f"{element},".split("\n"))
    return "".join([*lines[: end - 1], made, *lines[end - 1 :]])


def _first_line(literal: Literal) -> int:
    if isinstance(literal, ast.Dict):
        key = literal.keys[-1]
        return key.lineno if key is not None else literal.values[-1].lineno
    return literal.elts[-1].lineno


def remove(text: str, literal: Literal, key: str) -> str:
    """``text`` without the lines of the element ``key``; unchanged where it is not there."""
    place = keys(literal).get(key)
    if place is None:
        return text
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: place[0] - 1], *lines[place[1] :]])
