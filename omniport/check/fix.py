"""Apply the edits of findings to files, or show them."""

from __future__ import annotations

import ast
import difflib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from omniport.check.finding import Edit, Finding
from omniport.errors import OmniportError


def fixed_texts(findings: Iterable[Finding]) -> dict[Path, tuple[bytes, bytes, int]]:
    """File -> (content, content with the edits of its findings, number of findings mended).

    Findings whose edits overlap earlier ones are left for the next run.

    Raises:
        OmniportError: a file cannot be read, or is no Python any more with the edits: then nothing of it is used.
    """
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.edits:
            by_file.setdefault(finding.path, []).append(finding)
    result = {}
    for name, found in by_file.items():
        path = Path(name)
        try:
            before = path.read_bytes()
        except OSError as error:
            raise OmniportError(f"{path}: cannot be read: {error.strerror}") from None
        after, count = _apply(before, found)
        try:
            ast.parse(after)
        except SyntaxError as error:
            raise OmniportError(f"{path}: the fixes would not leave valid Python ({error.msg}); none applied") from None
        result[path] = (before, after, count)
    return result


def write(texts: Mapping[Path, tuple[bytes, bytes, int]]) -> int:
    """Write the mended files with their modes, all or none; returns how many findings were mended.

    Raises:
        OmniportError: one cannot be written; the others are as they were.
    """
    made: dict[Path, Path] = {}
    replaced: list[Path] = []
    try:
        for path, (_, after, _) in texts.items():
            made[path] = _beside(path, after)
        for path, temporary in made.items():
            replaced.append(path)
            temporary.replace(path)
    except BaseException as error:
        for path in replaced:
            if made[path].exists():
                continue  # stopped before it was moved
            _beside(path, texts[path][0]).replace(path)
        for temporary in made.values():
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OmniportError(f"{error.filename}: cannot be written: {error.strerror}; none was changed") from None
        raise
    return sum(count for _, _, count in texts.values())


def _beside(path: Path, content: bytes) -> Path:
    """A new file with the mode of ``path`` in its folder; none is left where that fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(path.stat().st_mode)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def unified_diff(texts: Mapping[Path, tuple[bytes, bytes, int]]) -> str:
    """All changes as one diff."""
    parts: list[str] = []
    for path, (before, after, _) in sorted(texts.items()):
        old, new = (text.decode("utf-8").splitlines(keepends=True) for text in (before, after))
        parts += difflib.unified_diff(old, new, f"a/{path.as_posix()}", f"b/{path.as_posix()}")
    return "".join(parts)


def _apply(content: bytes, findings: list[Finding]) -> tuple[bytes, int]:
    lines = content.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    mark = 3 if content.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark is no column

    def place(line: int, col: int) -> int:
        return starts[min(line, len(starts)) - 1] + col + (mark if line == 1 else 0)

    chosen: list[tuple[int, int, Edit]] = []
    count = 0
    for finding in findings:
        spans = [(place(e.line, e.col), place(e.end_line, e.end_col), e) for e in finding.edits]
        if all(end <= other[0] or start >= other[1] for start, end, _ in spans for other in chosen):
            chosen += spans
            count += 1
    for start, end, edit in sorted(chosen, key=lambda span: span[0], reverse=True):
        content = content[:start] + edit.text.encode() + content[end:]
    return content, count
