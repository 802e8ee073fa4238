"""The copyright notice of a source file, which goes with its code."""

from __future__ import annotations

from pathlib import Path


def notice(root: Path, file: str) -> str:
    """The comment that the file begins with and an empty line; empty if it begins with code."""
    lines = []
    for line in (root / file).read_bytes().decode("utf-8-sig", "replace").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("#!") and "coding" not in line:
            lines.append(line)
    return "\n".join([*lines, "", ""]) if lines else ""
