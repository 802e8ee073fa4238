"""The top-level statements of a module, found without parsing it.

Reference modules run to thousands of lines of which a port wants a few.  A statement at the top level begins in column
0, so its lines are found by looking at first characters (and at triple quotes, within which column 0 means nothing);
only the statements asked for are parsed.  :class:`Definitions` answers as a dictionary of a parsed module would.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from omniport.source.reading import parse

Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign

_HEAD = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)")
_ASSIGN = re.compile(r"(\w+)\s*(?::[^=]*)?=(?!=)")
_QUOTES = re.compile(r'"""|\'\'\'')
_STRING = re.compile(
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""|\'\'\'[^\'\\]*(?:(?:\\.|\'(?!\'\'))[^\'\\]*)*\'\'\'', re.S
)
_NO_CODE = re.compile(r'("""|\'\'\')|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|#.*')
_WORD = re.compile(r"\w+")
_CLAUSE = re.compile(r"(?:elif|else|except|finally)\b")
_IMPORT = re.compile(r"^[ \t]*(?:from\s+[\w.]+\s+import\b|import\s+\w)", re.M)


class Definitions(Mapping[str, Definition]):
    """Module-level names -> the statement that defines them (the last one, as at run time), parsed when asked for.

    Raises:
        OmniportError: on reading an entry that does not parse; ``file`` names the module in the message.
    """

    def __init__(self, text: str, file: str = "<module>") -> None:
        self.file = file
        self.lines = text.splitlines()
        self._starts = starts_of(self.lines)
        self._spans = spans(self.lines, self._starts)
        self._parsed: dict[str, Definition] = {}

    def __getitem__(self, name: str) -> Definition:
        if name not in self._parsed:
            span = self._spans[name]
            node = self._read("\n".join(self.lines[span.first : span.end]), span.first + 1)
            if not isinstance(node, Definition):
                raise KeyError(name)
            self._parsed[name] = node
        return self._parsed[name]

    def _read(self, text: str, first: int) -> ast.stmt | None:
        """The statement in ``text``, which begins on 1-based line ``first``."""
        body = parse(text, self.file, first).body
        return body[0] if body else None

    def __contains__(self, name: object) -> bool:
        return name in self._spans

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def is_class(self, name: str) -> bool:
        """Whether ``name`` is a class, without parsing it."""
        return self._begins(name, "class")

    def is_function(self, name: str) -> bool:
        """Whether ``name`` is a function that is not asynchronous, without parsing it."""
        return self._begins(name, "def")

    def _begins(self, name: str, word: str) -> bool:
        return name in self._spans and self.lines[self._spans[name].head].split(None, 1)[0] == word

    def span(self, name: str) -> Span:
        """The lines of an entry, without parsing it."""
        return self._spans[name]

    def imports(self) -> list[ast.stmt]:
        """The imports at the top level, conditional ones aside.

        Raises:
            OmniportError: one of them does not parse.
        """
        lines = [""] * len(self.lines)  # the others are blank, so that each import keeps its line
        for start, end in zip(self._starts, [*self._starts[1:], len(lines)], strict=False):
            if self.lines[start].startswith(("import ", "from ")):
                lines[start:end] = self.lines[start:end]
        return parse("\n".join(lines), self.file).body

    def conditional(self) -> list[ast.stmt]:
        """The ``if`` and ``try`` statements at the top level.

        Raises:
            OmniportError: one of them does not parse.
        """
        found: list[ast.stmt] = []
        lines, first = self.lines, None
        for start, end in zip(self._starts, [*self._starts[1:], len(lines)], strict=False):
            word = _WORD.match(lines[start])
            if word and word.group() in ("if", "try"):
                first = start
            goes_on = end < len(lines) and _CLAUSE.match(lines[end])
            if first is not None and not goes_on:
                found += parse("\n".join(lines[first:end]), self.file, first + 1).body
                first = None
        return found


class Span(NamedTuple):
    """Where a statement stands, in 0-based lines: with decorators, without them, and the line behind its end."""

    first: int
    head: int
    end: int


def spans(lines: list[str], starts: list[int]) -> dict[str, Span]:
    """Name -> lines of its statement."""
    found: dict[str, Span] = {}
    decorated: int | None = None
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        line = lines[start]
        if line[0] == "@":
            decorated = start if decorated is None else decorated
            continue
        head = _HEAD.match(line) or _ASSIGN.match(line)
        if head:
            found[head.group(1)] = Span(start if decorated is None else decorated, start, end)
        decorated = None
    return found


def _code(line: str) -> str:
    """A line without its comment and without the strings that end on it, triple quotes aside."""
    if '"' not in line and "'" not in line:
        return line.partition("#")[0]
    return _NO_CODE.sub(lambda found: found.group(1) or "", line)


def starts_of(lines: list[str]) -> list[int]:
    """The lines (0-based) on which something begins in column 0, comments aside."""
    starts: list[int] = []
    quote = ""
    depth = 0  # of brackets opened by a top-level statement that is not indented further
    # A line that is indented and holds no triple quote says nothing outside of such brackets.
    telling = [n for n, line in enumerate(lines) if line and (not line[0].isspace() or '"""' in line or "'''" in line)]
    at = 0  # the first line that is not read yet
    for number in telling:
        at = max(at, number)
        while at == number or depth and at < len(lines):
            line = lines[at]
            code = _code(line)
            outer = bool(line) and not line[0].isspace()
            if not quote and not depth and outer and line[0] != "#":
                starts.append(at)
            if '"""' in line or "'''" in line:
                for found in _QUOTES.findall(line if quote else code):
                    quote = found if not quote else ("" if quote == found else quote)
            if not quote and (depth or outer):
                depth = max(0, depth + sum(map(code.count, "([{")) - sum(map(code.count, ")]}")))
            at += 1
    return starts


def import_statements(text: str) -> list[ast.Import | ast.ImportFrom]:
    """Every import of a module, nested ones included, in order; lines that only look like imports are left out."""
    text = _STRING.sub(lambda found: "\n" * found.group().count("\n"), text)
    pieces: list[str] = []
    position = 0  # up to which the text is read
    word = text.find("import")
    while word >= 0:
        found = _IMPORT.match(text, text.rfind("\n", 0, word) + 1)
        word = text.find("import", word + 1)
        if found is None or found.start() < position:
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
