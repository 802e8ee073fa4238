"""Three-way merge of one file by ``git merge-file``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from omniport.errors import OmniportError
from omniport.records import dataclass

_SECONDS = 60
_LABELS = ("your edits", "the port as it was", "the new port")


@dataclass(frozen=True)
class Merged:
    """A merged text; ``conflicts`` counts the places that are marked in it."""

    text: str
    conflicts: int


def merge(ours: str, base: str, theirs: str) -> Merged:
    """``base`` with the changes of both ``ours`` and ``theirs``; overlapping ones are marked inline.

    Line endings are those of ``ours``.

    Raises:
        OmniportError: git is missing, or refuses the texts.
    """
    newline = "\r\n" if "\r\n" in ours and "\n" not in ours.replace("\r\n", "") else "\n"
    base, theirs = (text.replace("\r\n", "\n").replace("\n", newline) for text in (base, theirs))
    if ours == theirs or base == theirs:
        return Merged(ours, 0)
    if ours == base:
        return Merged(theirs, 0)
    git = shutil.which("git")
    if git is None:
        raise OmniportError("git is not installed, and an update merges with git merge-file; install git")
    with tempfile.TemporaryDirectory(prefix="omniport-") as folder:
        names = ["ours", "base", "theirs"]
        for name, text in zip(names, (ours, base, theirs), strict=True):
            (Path(folder) / name).write_bytes(text.encode("utf-8"))
        labels = [part for label in _LABELS for part in ("-L", label)]
        try:
            done = subprocess.run(
                [git, "merge-file", "-p", "--diff3", *labels, *names],
                cwd=folder,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OmniportError(f"git merge-file cannot be run: {error}") from None
    if done.returncode > 127:
        raise OmniportError(f"git merge-file failed: {done.stderr.decode('utf-8', errors='replace').strip()}")
    return Merged(done.stdout.decode("utf-8"), done.returncode)
