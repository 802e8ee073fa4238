"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from omniport.errors import OmniportError


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` under another name first; whatever happens, nothing else is left in the folder.

    Raises:
        OmniportError: the file cannot be written.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OmniportError(f"{path} cannot be written ({error.strerror}); make {path.parent} writable") from error
