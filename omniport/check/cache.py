"""Findings kept by the content of what they were found in, so that an unchanged port costs a hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from omniport import __version__
from omniport.check.finding import Edit, Finding
from omniport.folders import own_cache

_PACKAGE = Path(__file__).parent
#: rule sets that nobody has used for so long are forgotten, in seconds
_FORGOTTEN = 30 * 24 * 3600


def cache_folder() -> Path:
    """Where findings are kept, below our folder in the user's cache."""
    return own_cache() / "check"


def rule_set() -> str:
    """A digest of all that decides what is found: its code and what it imports, and Python's AST."""
    digest = hashlib.sha256(f"{__version__} {sys.version_info[:2]}".encode())
    beside = (_PACKAGE.parent / "target" / "registry.py", _PACKAGE.parent / "plan" / "todos.py")
    for file in (*sorted(_PACKAGE.rglob("*.py")), *beside):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


class FindingCache:
    """The findings of ports by content.  What cannot be read or written is computed again: never an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / rule_set()

    def key(self, name: str, contents: Iterable[bytes], places: Iterable[str]) -> str:
        """The key of a port: its name, the content of every file, and where each lies below the port."""
        digest = hashlib.sha256(name.encode())
        for place, content in zip(places, contents, strict=True):
            digest.update(f"\0{place}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def get(self, key: str, paths: Sequence[Path]) -> list[Finding] | None:
        """The findings kept under a key, with the paths that the files have now."""
        try:
            data = json.loads((self._folder / key).read_text("utf-8"))
            return [
                Finding(**{**entry, "path": paths[entry["path"]].as_posix(), "edits": _edits(entry)}) for entry in data
            ]
        except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError):
            return None

    def put(self, key: str, paths: Sequence[Path], findings: Sequence[Finding]) -> None:
        """Keep findings; those of a port that names other files than its own are not kept."""
        places = {path.as_posix(): i for i, path in enumerate(paths)}
        if any(finding.path not in places for finding in findings):
            return
        data = [{**asdict(finding), "path": places[finding.path]} for finding in findings]
        temporary = self._folder / f".{key}.{os.getpid()}"
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                self._forget()
            temporary.write_text(json.dumps(data), "utf-8")
            temporary.replace(self._folder / key)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _forget(self) -> None:
        """Drop what older rule sets kept, a month after their last use."""
        for folder in self._folder.parent.iterdir():
            if folder != self._folder and folder.stat().st_mtime < time.time() - _FORGOTTEN:
                shutil.rmtree(folder, ignore_errors=True)


def _edits(entry: dict[str, object]) -> tuple[Edit, ...]:
    edits = entry["edits"]
    return tuple(Edit(**edit) for edit in edits) if isinstance(edits, list) else ()
