"""Lines that string literals or comments make too long: literals are cut at blanks, comments are filled."""

from __future__ import annotations

import ast
import re

from omniport.rewrite.pipeline.comments import filled
from omniport.source.nodes import each_node

_LITERAL = re.compile(r"([fFrRuU]*)(\"|')")
_TRIPLE = re.compile(rb"[a-zA-Z]*(\"\"\"|\'\'\')")
_LINE = re.compile(
    r"(?P<before>(?:[\w.]+ ?= ?|return )?)(?P<literal>[fFrRuU]*(?P<quote>[\"']).*(?P=quote))(?P<after>,?)\Z"
)


def wrap_lines(text: str, tree: ast.Module | None = None, width: int = 120) -> str:
    """``text`` with its long comments filled and its long one-line literals cut into adjacent literals.

    ``tree`` is that of ``text``, where it is known.
    A literal is cut only where adjacent literals may stand: alone on its line inside brackets, or as the whole value
    of an assignment, a keyword argument or a ``return``, which gets parentheses.  Every other long line stays.
    """
    if all(len(line) <= width for line in text.splitlines()):
        return text
    inside = _multiline(text, tree or ast.parse(text))
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) <= width or number in inside:
            lines.append(line)
        else:
            lines.extend(_wrapped(line, width))
    return "\n".join(lines) + "\n"


def _multiline(text: str, tree: ast.Module) -> set[int]:
    """Lines inside triple-quoted literals."""
    found: set[int] = set()
    lines = text.encode().splitlines()
    for node in each_node(tree):
        if not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        last = node.end_lineno or 0
        if last > node.lineno and _TRIPLE.match(lines[node.lineno - 1], node.col_offset):  # ast counts bytes
            found.update(range(node.lineno, last + 1))
    return found


def _wrapped(line: str, width: int) -> list[str]:
    body = line.strip()
    pad = line[: len(line) - len(line.lstrip())]
    if body.startswith("#"):
        return filled(body, pad, width)
    match = _LINE.match(body)
    if match is None or not _is_literal(match["literal"]):
        return [line]
    inner = pad if not match["before"] else f"{pad}    "
    pieces = _pieces(match["literal"], width - len(inner) - 1)
    if len(pieces) < 2:
        return [line]
    if not match["before"]:
        return [*(f"{pad}{p}" for p in pieces[:-1]), f"{pad}{pieces[-1]}{match['after']}"]
    return [f"{pad}{match['before']}(", *(f"{inner}{p}" for p in pieces), f"{pad}){match['after']}"]


def _is_literal(text: str) -> bool:
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and not text.startswith(('"""', "'''"))
    return isinstance(node, ast.JoinedStr)


def _pieces(literal: str, width: int) -> list[str]:
    """The literal cut at blanks into adjacent ones of at most ``width``, where blanks allow it."""
    match = _LITERAL.match(literal)
    assert match is not None
    prefix, quote = match.groups()
    body = literal[match.end() : -1]
    room = width - len(prefix) - 2
    formatted = "f" in prefix.lower()
    pieces, start, cut, depth, index = [], 0, 0, 0, 0
    while index < len(body):
        if formatted and not depth and body[index : index + 2] in ("{{", "}}"):
            index += 2
            continue
        if formatted and (body[index] == "{" or (depth and body[index] in "[(")):
            depth += 1
        elif formatted and depth and body[index] in "}])":
            depth -= 1
        if index - start >= room and cut > start:
            pieces.append(body[start:cut])
            start = cut
        if body[index] == " " and not depth:
            cut = index
        index += 2 if body[index] == "\\" else 1
    pieces.append(body[start:])
    return [f"{_prefix(prefix, p)}{quote}{p}{quote}" for p in pieces]


def _prefix(prefix: str, piece: str) -> str:
    return prefix if "{" in piece or "}" in piece else prefix.replace("f", "").replace("F", "")
