"""The files that git says were changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from omniport.errors import OmniportError


def changed_files(path: Path, base: str) -> set[Path]:
    """The resolved files that differ from ``base``, and those that git does not know yet.

    Raises:
        OmniportError: git is missing, ``path`` is in no work tree, or there is no such revision.
    """
    folder = path if path.is_dir() else path.parent
    root = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    names = _git(root, "diff", "--name-only", "-z", "--diff-filter=d", "--end-of-options", base, "--").split("\0")
    names += _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return {(root / name).resolve() for name in names if name}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise OmniportError(f"--changed-only needs git: {error.strerror}") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
        raise OmniportError(
            f"--changed-only asks git, and `git {arguments[0]}` failed in {folder}: {reason}; without the option every "
            "finding is shown"
        )
    return done.stdout
