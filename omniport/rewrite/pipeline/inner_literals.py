"""Long string literals among others on a line (in a list, a default) are cut into adjacent ones, which the layout then
puts on lines of their own."""

from __future__ import annotations

import ast
import re

from omniport.source.nodes import each_node

_WIDEST = 100  # with indentation and brackets, such a literal fits a line of 120
_LITERAL = re.compile(r"\"[^\"]{98,}\"|'[^']{98,}'")


def with_literals_cut(text: str, tree: ast.Module | None = None) -> str:
    """``text`` with its long literals in brackets cut at blanks and after line ends; ``tree`` is that of ``text``."""
    long = {n for n, line in enumerate(text.split("\n"), 1) if len(line) > 120 and _LITERAL.search(line)}
    if not long:
        return text
    found = [n for n in _elements(tree or ast.parse(text)) if n.lineno in long and n.lineno == n.end_lineno]
    lines = text.split("\n")
    for node in sorted(found, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        line = lines[node.lineno - 1].encode()
        before, after = line[: node.col_offset], line[node.end_col_offset :]
        literal = line[node.col_offset : node.end_col_offset].decode()
        alone = not before.strip() and after.strip() in (b"", b",")
        pieces = _pieces(literal) if not alone and len(literal) > _WIDEST else []
        if len(pieces) > 1:
            cut = f"({' '.join(pieces)})".encode()
            lines[node.lineno - 1] = (before + cut + after).decode()
    return "\n".join(lines)


def _elements(tree: ast.Module) -> list[ast.Constant]:
    """The strings of lists, tuples, sets and dictionaries, and those that are defaults."""
    found: list[ast.expr | None] = []
    for node in each_node(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            found += node.elts
        elif isinstance(node, ast.Dict):
            found += node.values
        elif isinstance(node, ast.arguments):
            found += [*node.defaults, *node.kw_defaults]
    return [n for n in found if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def _pieces(literal: str) -> list[str]:
    """The literal cut into adjacent ones; itself if it is more than one literal, or of another kind."""
    quote = literal[0]
    if quote not in "\"'" or literal.startswith(quote * 3):
        return [literal]
    body, pieces, start, cut, index = literal[1:-1], [], 0, 0, 0
    while index < len(body):
        if body[index] == quote:
            return [literal]
        if index - start >= _WIDEST - 2 and cut > start:
            pieces.append(body[start:cut])
            start = cut
        step = 2 if body[index] == "\\" else 1
        if body[index] == " ":
            cut = index
        elif body[index : index + 2] == "\\n":
            cut = index + step
        index += step
    return [f"{quote}{piece}{quote}" for piece in (*pieces, body[start:])]
