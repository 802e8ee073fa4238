"""The command lines of a page: every fence of ``bash``, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("omniport", "make", "pip", "python", "torchrun")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"\s+#.*")


def pages() -> list[Path]:
    """README and everything below docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_of(text: str) -> list[str]:
    """The commands, without comments; a line that ends in a backslash goes on with the next."""
    found: list[str] = []
    for language, body in _FENCE.findall(text):
        if language == "bash":
            lines = re.sub(r"\\\n\s*", "", body).splitlines()
            found += [command for line in lines if (command := _COMMENT.sub("", f" {line}").strip())]
    return found


def stray(text: str) -> Iterator[str]:
    """Command lines that stand outside of such a fence, where no test would see them."""
    for language, body in _FENCE.findall(text):
        if language != "bash":
            yield from (line for line in body.splitlines() if line.startswith(tuple(f"{p} " for p in PROGRAMS)))
    outside = _FENCE.sub("", text)
    pattern = re.compile(rf"^ {{4,}}({'|'.join(PROGRAMS)}) .*", re.M)
    yield from (found.group().strip() for found in pattern.finditer(outside))
