"""What a set of files would change on disk, and the writing of it.

:func:`prepare` does all that can fail: it parses and compiles every Python file, resolves its imports, compares with
the disk and finds conflicts.  :func:`apply` then writes all of it or nothing.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from omniport.beside import Answer, Beside
from omniport.errors import FindingsError, OmniportError
from omniport.records import dataclass
from omniport.target import journal, manifest
from omniport.target.members import missing_members
from omniport.target.parsed import parsed
from omniport.target.paths import STATE, confine, sha256
from omniport.target.registry import read_text
from omniport.target.resolve import ImportFinding, Resolution, resolve_imports

Verb = Literal["create", "edit", "identical", "conflict"]
Checked = tuple[Resolution, tuple[ImportFinding, ...]]  # what becomes of imports, and what does not exist


@dataclass(frozen=True)
class FileChange:
    """A file as it shall be; ``path`` is relative to the root, ``content`` carries its own line endings.

    ``create`` is a file of ours, ``edit`` a file of the tree with our rows in it (``base`` is the sha256 of the text
    that was edited), ``manifest`` the record of the port and ``base`` that of its files as they were made.
    """

    path: str
    content: str
    verb: Literal["create", "edit", "manifest", "base"]
    base: str | None = None


@dataclass(frozen=True)
class FileStatus:
    """What becomes of a file: ``old`` is its text on disk (None if there is none), ``reason`` says why it conflicts."""

    path: str
    verb: Verb
    old: str | None
    new: str
    reason: str = ""


@dataclass(frozen=True)
class Prepared:
    """Changes that parse, resolve and may be written, unless one of ``files`` is a conflict."""

    root: Path
    files: tuple[FileStatus, ...]
    resolution: Resolution

    @property
    def conflicts(self) -> tuple[FileStatus, ...]:
        return tuple(f for f in self.files if f.verb == "conflict")


def prepare(
    root: Path,
    changes: Sequence[FileChange],
    *,
    package: Path | None,
    force: bool = False,
    others: Sequence[Path] = (),
    checked: Answer[Checked] | None = None,
) -> Prepared:
    """Compare ``changes`` with the disk below ``root``; writes nothing.

    ``package`` is the ``vllm_omni`` folder that imports are resolved against (the installed one if None), ``others``
    are package folders that stand for installed ones, ``checked`` is what :func:`begin_check` gave for these changes.
    A file that exists and is not ours, or was edited since we wrote it, is a conflict unless ``force``.

    Raises:
        OmniportError: a path leaves the root, a file does not parse, or an import, an attribute or a keyword of the
            tree's classes does not exist.
    """
    resolution = check(changes, package=package, others=others, checked=checked)
    owned = manifest.owned(root)
    return Prepared(root, tuple(_status(root, c, owned, force) for c in changes), resolution)


def check(
    changes: Sequence[FileChange],
    *,
    package: Path | None,
    others: Sequence[Path] = (),
    checked: Answer[Checked] | None = None,
) -> Resolution:
    """Whether ``changes`` parse and what they import and use exists; see :func:`prepare`.

    Raises:
        OmniportError: one does not; the message names every place.
    """
    checked = checked or begin_check(changes, package=package, others=others, beside=Beside(alone=True))
    seen: set[str] = set()
    for change in changes:
        if change.path.casefold() in seen:
            raise OmniportError(f"{change.path}: two files of this name would be written")
        seen.add(change.path.casefold())
        check_syntax(change.path, change.content)
    resolution, missing = checked.result()
    if missing:
        lines = "\n".join(f"  {m.file}:{m.line}: {m.name}: {m.reason}" for m in missing)
        raise OmniportError(f"the port would use what does not exist:\n{lines}")
    return resolution


def begin_check(
    changes: Sequence[FileChange], *, package: Path | None, others: Sequence[Path], beside: Beside
) -> Answer[Checked]:
    """Begin with the part of :func:`check` that reads the packages; that part changes with files of ours alone."""
    sources = {c.path: c.content for c in changes if c.verb == "create" and c.path.endswith(".py")}
    return beside.ask(_resolved, sources, package, tuple(others))


def _resolved(sources: Mapping[str, str], package: Path | None, others: Sequence[Path]) -> Checked:
    resolution = resolve_imports(sources, package, others)
    return resolution, resolution.missing or (missing_members(sources, package) if package else ())


def apply(prepared: Prepared) -> tuple[FileStatus, ...]:
    """Write every file that differs; all or none.  Returns the files with what became of them.

    Raises:
        FindingsError: there are conflicts.
        OmniportError: a write failed; nothing was changed.
    """
    if prepared.conflicts:
        lines = "\n".join(f"  {f.path}: {f.reason}" for f in prepared.conflicts)
        raise FindingsError(f"nothing written; these files stand in the way (--force overwrites them):\n{lines}")
    changed = [f for f in prepared.files if f.verb != "identical"]
    for file in changed:  # nobody may have changed them since they were compared
        place = confine(prepared.root, file.path)
        if (read_text(place) if place.is_file() else None) != file.old:
            raise FindingsError(f"{file.path}: changed while the port was made; run again")
    journal.commit(prepared.root, [journal.text_write(f.path, f.new) for f in changed])
    return prepared.files


def require_writable(root: Path, folders: Sequence[Path] = ()) -> None:
    """Raise OmniportError if ``root`` or one of ``folders`` cannot be written to."""
    for path in (root, *folders):
        there = path
        while not there.exists() and there != there.parent:
            there = there.parent
        if path == root and there.exists() and not there.is_dir():
            raise OmniportError(f"{there} is no folder")
        if not os.access(there, os.W_OK | (os.X_OK if there.is_dir() else 0)):
            raise OmniportError(f"{there}: no permission to write; nothing was changed")
    state = root / STATE
    if state.exists() and not os.access(state, os.W_OK | os.X_OK):
        raise OmniportError(f"{state}: no permission to write; nothing was changed")


def diff(status: FileStatus) -> str:
    """The change as a unified diff; empty for an identical file."""
    old = (status.old or "").splitlines(keepends=True)
    new = status.new.splitlines(keepends=True)
    before = "/dev/null" if status.old is None else f"a/{status.path}"
    lines = []
    for line in difflib.unified_diff(old, new, before, f"b/{status.path}"):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


def check_syntax(path: str, text: str) -> None:
    """Raise OmniportError unless the text is a program, where the path says that it is one."""
    if not path.endswith(".py"):
        return
    try:
        compile(parsed(text), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise OmniportError(f"{path}: the text made for it is not valid: {error}") from None


def _status(root: Path, change: FileChange, owned: Mapping[str, str], force: bool) -> FileStatus:
    place = confine(root, change.path)
    if not place.is_file():
        if change.verb == "edit":
            return FileStatus(change.path, "conflict", None, change.content, "the file to edit is gone")
        return FileStatus(change.path, "create", None, change.content)
    if place.read_bytes() == change.content.encode("utf-8"):
        return FileStatus(change.path, "identical", change.content, change.content)
    old = read_text(place)
    reason = ""
    if change.verb == "edit":
        reason = "changed while the port was made" if change.base not in (None, sha256(old)) else ""
    elif change.verb == "manifest":
        reason = "" if force else manifest.problem(place)
    elif change.verb == "create" and not force and owned.get(change.path) != sha256(old):
        reason = "edited since it was written" if change.path in owned else "not written by omniport"
    return FileStatus(change.path, "conflict" if reason else "edit", old, change.content, reason)
