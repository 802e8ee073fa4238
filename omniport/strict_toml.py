"""TOML of a project, read as hostile input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError

LIMIT = 1 << 20  # bytes


def read_toml(path: Path, *, mark: str = "") -> dict[str, Any]:
    """The tables of the file ``path``; none where its text lacks ``mark``, which is cheaper than to parse it.

    Raises:
        OmniportError: it cannot be read, is too large or no TOML, or this Python has no reader for TOML.
    """
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8") if size <= LIMIT else ""
    except OSError as error:
        raise OmniportError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OmniportError(f"{path}: not UTF-8") from None
    if size > LIMIT:
        raise OmniportError(f"{path}: larger than {LIMIT} bytes; refused")
    if mark not in text:
        return {}
    if sys.version_info < (3, 11):
        raise OmniportError(f"{path}: reading [tool.omniport] needs Python 3.11; give the options on the command line")
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OmniportError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise OmniportError(f"{path}: nested too deep to be read; refused") from None
