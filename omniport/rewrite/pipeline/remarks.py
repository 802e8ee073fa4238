"""Comments that speak of what a port has none of, and of what the reference's authors have still to do.

Source: diffusers marks copies for a tool of its own, offloads and calls back by hooks, and words some lines for other
devices and exports; vLLM-Omni does none of it.  Its shared layers say for which model a line is needed; the layers of
a port are its own model's.
"""

from __future__ import annotations

import re
import textwrap

WIDTH = 120  # columns, as in the target's ruff settings
#: What goes of a comment, its end often.
_CLAUSES = re.compile(
    r"\s*\bCopied from .*|,? using mps friendly method\b|,? in a way that's compatible with ONNX/Core ML\b"
    r"|\s*\(needed for \w+\)"
)
#: A paragraph that speaks of one of these explains the reference, not the port.
_REFERENCE = re.compile(r"\bcallback|\boffload|cpu_offload|\baccelerate\b", re.IGNORECASE)
_TO_DO = re.compile(r"#\s*(#+\s*)?(TODO|FIXME|HACK|XXX)\b")
#: The same behind a sentence: ``# 6. Prepare the latents. TODO: move this``.
_TO_DO_LATER = re.compile(r"(?<=[.,;:)])\s+(TODO|FIXME|HACK|XXX)\b:?.*")
_ANY = re.compile(
    rf"#.*(?:{_TO_DO.pattern[4:]}|{_REFERENCE.pattern}|Copied from|\bmps\b|ONNX|\(needed for)", re.IGNORECASE
)
_SECTION = re.compile(r"#\s*\d+(\.\d+)*\.")


def without_remarks(text: str) -> str:
    """``text`` of a module without such comments on lines of their own; those in literals of several lines stay."""
    if not _ANY.search(text):
        return text
    lines: list[str] = []
    paragraph: list[str] = []
    inside = False
    for line in [*text.split("\n"), "end"]:
        if not inside and line.lstrip().startswith("#"):
            paragraph.append(line)
            continue
        lines += _kept(paragraph)
        paragraph = []
        inside ^= line.count('"""') % 2 == 1
        lines.append(line)
    return "\n".join(lines[:-1])


def _kept(paragraph: list[str]) -> list[str]:
    """What stays of comment lines without a blank between them."""
    if not any(_ANY.search(line) for line in paragraph):
        return paragraph
    end = next((at for at, line in enumerate(paragraph) if _TO_DO.match(line.lstrip())), len(paragraph))
    paragraph = paragraph[:end]
    later = next((at for at, line in enumerate(paragraph) if _TO_DO_LATER.search(line)), len(paragraph))
    if later < len(paragraph):
        paragraph = [*paragraph[:later], _TO_DO_LATER.sub("", paragraph[later])]
    comment = " ".join(line.lstrip()[1:].strip() for line in paragraph)
    if _REFERENCE.search(comment) and not _SECTION.match(f"#{comment}"):
        return []
    cut = _CLAUSES.sub("", comment)
    if cut == comment:
        return paragraph
    each = [_CLAUSES.sub("", line).rstrip() for line in paragraph]
    if " ".join(text for line in each if (text := line.lstrip()[1:].strip())) == cut.strip():
        return [line for line in each if line.strip() != "#"]
    pad = " " * (len(paragraph[0]) - len(paragraph[0].lstrip()))
    return textwrap.wrap(cut.strip(), WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")
