"""The files of a port as omniport made them, ``.omniport/<name>.base``: what an update merges against.

The manifest holds their sums alone.  A text is taken only if its sum is the recorded one, so that a damaged or older
file never becomes the base of a merge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from omniport.errors import OmniportError
from omniport.strict_json import read_record
from omniport.target.manifest import Manifest
from omniport.target.paths import STATE, sha256

SCHEMA = 1
_SIZE = 64 << 20  # bytes


def pristine_path(name: str) -> str:
    """Its place below the root."""
    return f"{STATE}/{name}.base"


def pristine_dumps(files: Mapping[str, str]) -> str:
    """The text of the file; the same files give the same bytes."""
    return json.dumps({"schema": SCHEMA, "files": dict(sorted(files.items()))}, indent=1, ensure_ascii=True) + "\n"


def pristine(root: Path, port: Manifest) -> dict[str, str]:
    """Path -> text of the files that ``port`` consists of, as they were made.

    A file that nobody has edited since is read from its place, so that only edited ones need the record.

    Raises:
        OmniportError: an edited file is not in the record; the message names it and what to do.
    """
    kept = _load(root / pristine_path(port.name))
    found: dict[str, str] = {}
    for entry in port.files:
        if entry.verb != "create":
            continue
        place = root / entry.path
        on_disk = place.read_bytes().decode("utf-8", errors="replace") if place.is_file() else None
        text = next((t for t in (on_disk, kept.get(entry.path)) if t is not None and sha256(t) == entry.sha256), None)
        if text is None:
            raise OmniportError(
                f"{entry.path}: edited since it was written, and {root / pristine_path(port.name)} does not hold it as "
                "it was made; there is nothing to merge against. Restore that file, or scaffold with --force"
            )
        found[entry.path] = text
    return found


def _load(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        data = read_record(path, limit=_SIZE)
        files = data["files"]
        if data["schema"] != SCHEMA or not all(isinstance(v, str) for v in files.values()):
            raise ValueError("another form")
        return dict(files)
    except (OmniportError, ValueError, KeyError, AttributeError):
        return {}  # its texts are needed for edited files alone, which are then named
