"""Comments that announce a doubled batch go where the port doubles none: guidance runs its two calls apart."""

from __future__ import annotations

import re

_DOUBLED = re.compile(
    r"# ?(?:expand the latents if we are doing classifier.free guidance"
    r"|For classifier.free guidance, we need to do two forward passes"
    r"|Model input \(stack \d copies under CFG\))",
    re.IGNORECASE,
)
#: What doubles a batch.
_DOUBLES = re.compile(r"\bcat\(|\bconcat\(|\* ?2\b|\brepeat\(|\* \(")
_FAR = 2  # lines of code below a comment that it may speak of


def without_doubled_remarks(text: str) -> str:
    """``text`` of a module without such comments, but for those above a line that does double."""
    if not _DOUBLED.search(text):
        return text
    lines = text.split("\n")
    kept: list[str] = []
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and lines[end].lstrip().startswith("#"):
            end += 1
        if end == at:
            kept.append(lines[at])
            at += 1
            continue
        code = [line for line in lines[end : end + _FAR + 2] if line.strip()][:_FAR]
        if not _DOUBLED.match(lines[at].lstrip()) or any(_DOUBLES.search(line) for line in code):
            kept += lines[at:end]
        elif kept and not kept[-1].strip() and code and _indent(code[0]) < _indent(lines[at]):
            kept.pop()  # the blank line above it, which would end the block
        at = end
    return "\n".join(kept)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
