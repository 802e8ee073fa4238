"""What a rule finds, and what would mend it."""

from __future__ import annotations

from omniport.records import dataclass


@dataclass(frozen=True)
class Edit:
    """Text to put in the place of a range of a file: lines from 1, columns from 0 in UTF-8 bytes, as in ``ast``."""

    line: int
    col: int
    end_line: int
    end_col: int
    text: str


@dataclass(frozen=True)
class Finding:
    """One place of a port that breaks a rule.

    ``line`` and ``col`` are 1-based.  ``evidence`` is what in the source shows it, the line itself unless the rule
    has something better.  ``edits`` mend it without changing what a correct port does; a rule that has none leaves
    the remedy to people.  What does not block is listed and counted, and lets the check pass.
    """

    code: str
    path: str
    line: int
    col: int
    message: str
    evidence: str
    edits: tuple[Edit, ...] = ()
    blocking: bool = True
