"""The top-level statements of a module, found without parsing it.

Reference modules run to thousands of lines of which a port wants a few.  A statement at the top level begins in column
0, so its lines are found by looking at first characters (and at triple quotes, within which column 0 means nothing);
only the statements asked for are parsed.  :class:`Definitions` answers as a dictionary of a parsed module would.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from omniport.source.reading import parse

Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign

_HEAD = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)")
_ASSIGN = re.compile(r"(\w+)\s*(?::[^=]*)?=(?!=)")
_QUOTES = re.compile(r'"""|\'\'\'')
_STRING = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*\'\'\'', re.S)
_WORD = re.compile(r"\w+")
_CLAUSE = re.compile(r"(?:elif|else|except|finally)\b")
_IMPORT = re.compile(r"^[ \t]*(?:from\s+[\w.]+\s+import\b|import\s+\w)", re.M)


class Definitions(Mapping[str, Definition]):
    """Module-level names -> the statement that defines them (the last one, as at run time), parsed when asked for.

    Raises:
        OmniportError: on reading an entry that does not parse; ``file`` names the module in the message.
    """

    def __init__(self, text: str, file: str = "<module>") -> None:
        self._file = file
        self._lines = text.splitlines()
        self._spans = _spans(self._lines)
        self._parsed: dict[str, Definition] = {}

    def __getitem__(self, name: str) -> Definition:
        if name not in self._parsed:
            first, last = self._spans[name]
            body = parse("\n".join(self._lines[first:last]), self._file, first + 1).body
            node = body[0] if body else None
            if not isinstance(node, Definition):
                raise KeyError(name)
            self._parsed[name] = node
        return self._parsed[name]

    def __contains__(self, name: object) -> bool:
        return name in self._spans

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)


def _spans(lines: list[str]) -> dict[str, tuple[int, int]]:
    """Name -> first and one past last line (0-based) of its statement, decorators included."""
    starts = _starts(lines)
    spans: dict[str, tuple[int, int]] = {}
    decorated: int | None = None
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        line = lines[start]
        if line[0] == "@":
            decorated = start if decorated is None else decorated
            continue
        head = _HEAD.match(line) or _ASSIGN.match(line)
        if head:
            spans[head.group(1)] = (start if decorated is None else decorated, end)
        decorated = None
    return spans


def _starts(lines: list[str]) -> list[int]:
    """The lines (0-based) on which something begins in column 0, comments aside."""
    starts: list[int] = []
    quote = ""
    depth = 0  # of brackets opened by a top-level statement that is not indented further
    for number, line in enumerate(lines):
        if not quote and not depth and line and not line[0].isspace() and line[0] != "#":
            starts.append(number)
        for found in _QUOTES.findall(line.split("#")[0] if not quote else line):
            quote = found if not quote else ("" if quote == found else quote)
        if not quote and (depth or (line and not line[0].isspace())):
            code = line.split("#")[0]
            depth = max(0, depth + sum(map(code.count, "([{")) - sum(map(code.count, ")]}")))
    return starts


def conditional_statements(text: str, file: str = "<module>") -> list[ast.stmt]:
    """The ``if`` and ``try`` statements at the top level of a module.

    Raises:
        OmniportError: one of them does not parse.
    """
    lines = text.splitlines()
    found: list[ast.stmt] = []
    starts = _starts(lines)
    first: int | None = None
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        word = _WORD.match(lines[start])
        if word and word.group() in ("if", "try"):
            first = start
        goes_on = end < len(lines) and _CLAUSE.match(lines[end])
        if first is not None and not goes_on:
            found += parse("\n".join(lines[first:end]), file, first + 1).body
            first = None
    return found


def import_statements(text: str) -> list[ast.Import | ast.ImportFrom]:
    """Every import of a module, nested ones included, in order; lines that only look like imports are left out."""
    text = _STRING.sub(lambda found: "\n" * found.group().count("\n"), text)
    pieces: list[str] = []
    position = 0
    for found in _IMPORT.finditer(text):
        if found.start() < position:
            continue
        end = text.find("\n", found.end())
        end = len(text) if end < 0 else end
        line = text[found.start() : end]
        if "(" in line and ")" not in line:
            close = text.find(")", end)
            end = len(text) if close < 0 else close + 1
        while text[found.start() : end].endswith("\\"):
            follows = text.find("\n", end + 1)
            end = len(text) if follows < 0 else follows
        pieces.append(text[found.start() : end].strip())
        position = end
    try:
        nodes = ast.parse("\n".join(pieces)).body
    except (SyntaxError, ValueError):
        nodes = [node for piece in pieces for node in _parsed(piece)]
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def _parsed(piece: str) -> list[ast.stmt]:
    try:
        return ast.parse(piece).body
    except (SyntaxError, ValueError):  # prose in a docstring: "import this and that"
        return []
