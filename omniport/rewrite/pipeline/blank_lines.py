"""No blank line where a body begins, behind the docstring of a method, and ahead of ``else`` and the like."""

from __future__ import annotations

import re

_DEF = re.compile(r" *(async )?def \w")
_ON = re.compile(r" *(else|elif .*|except.*|finally) *:")
_QUOTE = re.compile(r' *r?"""')
_SCOPE = re.compile(r" *(@|(async )?def |class )")


def without_idle_blanks(text: str) -> str:
    """``text`` of a module without such lines; those inside of literals stay."""
    lines = text.split("\n")
    out: list[str] = []
    behind = ""  # what the last line ended: the "head" of a function, its "doc", or nothing of these
    depth = 0  # of brackets, in the head of a function
    head = inside = doc = False  # in such a head, in a literal of several lines, which is a docstring
    for at, line in enumerate(lines):
        start = line.strip()
        odd = '"""' in line and line.count('"""') % 2 == 1
        if inside:
            out.append(line)
            inside = not odd
            behind = "doc" if doc and odd else ""
            continue
        if not start:
            if behind == "head" or (behind == "doc" and not _scope_next(lines, at)):
                continue
            out.append(line)
            behind = ""
            continue
        if start[0] in "ef" and _ON.match(line):
            while not out[-1].strip():
                out.pop()
        out.append(line)
        head = head or (start[0] in "ad" and _DEF.match(line) is not None)
        doc = behind == "head" and _QUOTE.match(line) is not None
        behind, inside = "doc" if doc and not odd else "", odd
        if head:
            depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
            if not depth and start[-1] == ":":
                head, behind = False, "head"
    return "\n".join(out)


def _scope_next(lines: list[str], at: int) -> bool:
    """Whether a function or a class comes next, which stands apart."""
    following = next((line for line in lines[at:] if line.strip()), "")
    return bool(_SCOPE.match(following))
