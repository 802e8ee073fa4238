"""Folders of the user."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def own_cache() -> Path:
    """Our cache folder: ``OMNIPORT_CACHE``, else ``omniport`` in the user's cache folder."""
    folder = os.environ.get("OMNIPORT_CACHE")
    return Path(folder).expanduser() if folder else user_cache() / "omniport"
