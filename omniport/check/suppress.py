"""Suppressions: ``# omniport: ignore[OP101]`` on a line, or alone on the line before."""

from __future__ import annotations

import io
import re
import tokenize

from omniport.check.source import SourceFile
from omniport.records import dataclass

_COMMENT = re.compile(r"#\s*omniport:\s*ignore(?:\[(?P<codes>[^\]]*)\])?")
#: what must be in a file for it to hold one
_MARK = "omniport:"


@dataclass(frozen=True)
class Suppression:
    """A comment on ``line``, from ``col`` to ``end_col``, that silences ``codes`` on line ``target``."""

    line: int
    col: int
    end_col: int
    target: int
    codes: tuple[str, ...]


def suppressions(file: SourceFile) -> tuple[Suppression, ...]:
    """Every suppression of a file; one without codes silences nothing and is a finding of its own (OP002)."""
    if not file.mentions(_MARK):
        return ()
    found = []
    lines = file.text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        match = _COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        line, col = token.start
        codes = tuple(code.strip().upper() for code in (match["codes"] or "").split(",") if code.strip())
        alone = not lines[line - 1][:col].strip()
        target = _next_code(lines, line) if alone else line
        found.append(Suppression(line, col, token.end[1], target, codes))
    return tuple(found)


def _next_code(lines: list[str], line: int) -> int:
    """The first line after a 1-based one that is neither blank nor a comment."""
    for number in range(line + 1, len(lines) + 1):
        text = lines[number - 1].strip()
        if text and not text.startswith("#"):
            return number
    return line
