"""Headings such as ``# 5. Prepare timesteps`` count on without gaps once steps of the reference are gone.

A method whose headings begin again at 1 (one sequence for each branch) keeps its numbers; the only heading of a method
has none.
"""

from __future__ import annotations

import re

_METHOD = re.compile(r"( *)(?:async )?def \w+")
_TOP = re.compile(r"( *# )(\d+)(\.?)( +(?=[A-Z]).*)", re.DOTALL)
_PART = re.compile(r"( *# )(\d+)\.([1-9]\d*)(\.?)( +(?=[A-Z]).*)", re.DOTALL)


def numbered_anew(text: str) -> str:
    """``text`` of a module with the headings of each method numbered in order, from 0 where they begin with 0."""
    lines = text.split("\n")
    inside = False
    headings: list[int] = []
    for at, line in enumerate(lines):
        if not inside and line.lstrip().startswith("#"):
            if _TOP.match(line) or _PART.match(line):
                headings.append(at)
        elif not inside and _METHOD.match(line):
            _number(lines, headings)
            headings = []
        inside ^= line.count('"""') % 2 == 1
    _number(lines, headings)
    return "\n".join(lines)


def _number(lines: list[str], places: list[int]) -> None:
    """Write the numbers of one method's headings, which stand at ``places``, anew."""
    last: int | None = None
    made: dict[int, str] = {}
    count = 0
    for at in places:
        top, part = _TOP.match(lines[at]), _PART.match(lines[at])
        if top is not None:
            number = int(top[2])
            if not top[3] and (last is None or number <= last):
                continue  # ``# 2 Images``
            if last is None:
                count = min(number, 1) - 1
            elif number <= 1:
                return  # another sequence
            last, count = number, count + 1
            made[at] = f"{top[1]}{count}.{top[4]}"
        elif part is not None:
            if last is None or int(part[2]) != last:
                return  # a part of a step that is none here
            made[at] = f"{part[1]}{count}.{part[3]}{part[4]}{part[5]}"
    if len(made) == 1:
        at, line = next(iter(made.items()))
        made[at] = re.sub(r"# \d+\. +", "# ", line, count=1)
    for at, line in made.items():
        lines[at] = line
