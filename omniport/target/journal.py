"""Several files written as one: all of them or none.

Before the first file changes, the old contents are copied to ``.omniport/journal/`` and ``.omniport/journal.json``
says what is about to happen.  Removing ``journal.json`` is the commit: while it exists, the old state can be restored,
by the same process after an error or by the next one after a kill.  Each file is written beside its place and moved
over it, so that no reader ever sees half a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError
from omniport.records import dataclass
from omniport.strict_json import read_record
from omniport.target.paths import STATE, confine, sha256

_JOURNAL = f"{STATE}/journal.json"
_BACKUPS = f"{STATE}/journal"
_SIZE = 16 << 20  # bytes


@dataclass(frozen=True)
class Write:
    """One file to write, or to delete if ``content`` is None; ``path`` is relative to the root."""

    path: str
    content: bytes | None


def text_write(path: str, text: str | None) -> Write:
    """A write of text, with its line endings as they are."""
    return Write(path, None if text is None else text.encode("utf-8"))


def commit(root: Path, writes: Sequence[Write]) -> None:
    """Write all files or none; creates ``root`` and folders as needed, keeps the mode of files that exist.

    Raises:
        OmniportError: a write failed; the old state has been restored.
    """
    if not writes:
        return
    made: list[Path] = []
    try:
        _folders(root, made)
        with _lock(root):
            try:
                _write_all(root, writes, made)
            except BaseException:
                _undo(root, made)
                raise
    except OSError as error:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise OmniportError(
            f"{error.filename or root}: cannot be written: {error.strerror or error}; nothing was changed"
        ) from None


def recover(root: Path) -> bool:
    """Restore the old state if an earlier run was killed while writing; True if there was something to restore.

    Raises:
        OmniportError: the journal is damaged, or a file cannot be restored.
    """
    if not (root / STATE).is_dir():
        return False
    try:
        with _lock(root):
            return _roll_back(root)
    except OSError as error:
        raise OmniportError(
            f"{error.filename or root}: an interrupted write cannot be undone: {error.strerror or error}"
        ) from None


def drop_empty_folders(root: Path, deleted: Sequence[str]) -> None:
    """Remove the folders that deleting these files has left empty; compiled Python of theirs counts for nothing."""
    for name in deleted:
        folder = (root / name).parent
        while folder != root and folder.is_relative_to(root):
            with contextlib.suppress(OSError):
                if all(child.name == "__pycache__" for child in folder.iterdir()):
                    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
                folder.rmdir()
            if folder.exists():
                break
            folder = folder.parent


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Hold the root against a second writer; the lock lies on the folder itself and goes with the process."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    handle = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OmniportError(f"{root}: another omniport is writing here; wait for it to end") from None
        yield
    finally:
        os.close(handle)


def _folders(folder: Path, made: list[Path]) -> None:
    """Create ``folder`` and its parents, noting in ``made`` those that were not there."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir()
        made.append(path)


def _write_all(root: Path, writes: Sequence[Write], made: list[Path]) -> None:
    _roll_back(root)
    places = [confine(root, write.path) for write in writes]
    confine(root, _JOURNAL)
    _folders(root / _BACKUPS, made)
    entries: list[dict[str, Any]] = []
    for number, (write, place) in enumerate(zip(writes, places, strict=True)):
        before = None
        if place.is_file():
            before = sha256(place.read_bytes())
            backup = root / _BACKUPS / str(number)
            shutil.copy2(place, backup)
            _sync(backup)
        after = None if write.content is None else sha256(write.content)
        entries.append({"path": write.path, "before": before, "after": after})
    made_for = [p for w, p in zip(writes, places, strict=True) if w.content is not None]
    folders = sorted({f for p in made_for for f in _missing(p.parent)}, key=lambda f: len(f.parts))
    real = root.resolve()
    names = [f.relative_to(real).as_posix() for f in folders]
    journal = {"schema": 1, "entries": entries, "folders": names}
    _replace(root / _JOURNAL, json.dumps(journal, indent=2).encode())
    for folder in folders:
        folder.mkdir(exist_ok=True)
    for write, place in zip(writes, places, strict=True):
        if write.content is not None:
            _replace(place, write.content)
        elif place.is_file():
            place.unlink()
            _sync(place.parent)
    (root / _JOURNAL).unlink()  # the commit
    _sync(root / STATE)
    shutil.rmtree(root / _BACKUPS, ignore_errors=True)


def _missing(folder: Path) -> list[Path]:
    found = []
    while not folder.exists():
        found.append(folder)
        folder = folder.parent
    return found


def _temporary(place: Path) -> Path:
    return place.with_name(f".{place.name}.omniport-new")


def _replace(place: Path, content: bytes) -> None:
    """Put ``content`` at ``place`` in one step."""
    temporary = _temporary(place)
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():
            shutil.copymode(place, temporary)
        temporary.replace(place)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(place)  # a write to an open file does not say which
        raise
    _sync(place.parent)


def _sync(path: Path) -> None:
    """Force a file or folder to the disk where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _undo(root: Path, made: list[Path]) -> None:
    """After an error in this process: restore, and remove the folders made for the journal and the root."""
    with contextlib.suppress(OSError, OmniportError):
        _roll_back(root)
    for folder in reversed(made):
        with contextlib.suppress(OSError):
            folder.rmdir()
    made.clear()


def _roll_back(root: Path) -> bool:
    journal = confine(root, _JOURNAL)
    if not journal.is_file():
        shutil.rmtree(root / _BACKUPS, ignore_errors=True)  # of a write that never began, or that was committed
        with contextlib.suppress(FileNotFoundError):
            _temporary(journal).unlink()
        return False
    entries, folders = _load(journal)
    for number, entry in reversed(list(enumerate(entries))):
        place = confine(root, entry["path"])
        with contextlib.suppress(FileNotFoundError):
            _temporary(place).unlink()
        there = sha256(place.read_bytes()) if place.is_file() else None
        if there != entry["after"] or there == entry["before"]:
            continue  # not written yet, or edited since: then the edit is kept
        backup = root / _BACKUPS / str(number)
        if entry["before"] is None:
            place.unlink()
        elif backup.is_file():
            backup.replace(place)
    for folder in reversed(folders):
        with contextlib.suppress(OSError, OmniportError):
            confine(root, f"{folder}/x").parent.rmdir()
    journal.unlink()
    shutil.rmtree(root / _BACKUPS, ignore_errors=True)
    return True


def _load(journal: Path) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        data = read_record(journal, limit=_SIZE)
        entries, folders = data["entries"], data["folders"]
        fits = data["schema"] == 1 and all(isinstance(f, str) for f in folders)
        for entry in entries:
            before = entry["before"]
            fits &= isinstance(entry["path"], str) and isinstance(entry["after"], str | None)
            fits &= before is None or isinstance(before, str)
    except (OmniportError, KeyError, TypeError):
        fits = False
    if not fits:
        raise OmniportError(f"{journal}: damaged; an earlier write was interrupted, restore its files by hand")
    return entries, folders
