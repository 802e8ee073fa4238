"""Paths inside a root: the only way a file name becomes a place to write to."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from omniport.errors import OmniportError

STATE = ".omniport"  # folder of manifests, evidence and the journal, at the root of a tree or plugin


def confine(root: Path, name: str) -> Path:
    """The real path of ``name`` (relative, with ``/``) below ``root``.

    Raises:
        OmniportError: ``name`` is absolute or leaves the root, by itself or through a symbolic link.
    """
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or pure.as_posix() != name or any(c in name for c in "\\\0:\n\r"):
        raise OmniportError(f"{name!r} is no plain relative path")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise OmniportError(f"{name!r} leaves its folder")
    try:
        real_root = root.resolve()
        real = (real_root / pure).resolve()
        there, is_file = real.exists(), real.is_file()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OmniportError(f"{name[:200]}: no path below {root}: {reason}") from None
    if not real.is_relative_to(real_root) or real == real_root:
        raise OmniportError(f"{root / name} leads outside of {root} through a symbolic link; give the real folder")
    if there and not is_file:
        raise OmniportError(f"{root / name} is no file; move it away")
    return real


def sha256(content: str | bytes) -> str:
    """The hex digest of a file's content; text is taken as UTF-8 with its line endings as they are."""
    return hashlib.sha256(content.encode("utf-8") if isinstance(content, str) else content).hexdigest()
