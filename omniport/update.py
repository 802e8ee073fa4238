"""``omniport update``: the port made again from newer sources, merged with the edits made since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omniport.beside import Beside
from omniport.errors import OmniportError
from omniport.recorded import FileOutcome, in_tree, outcome_data, outcome_lines, recorded_port
from omniport.records import dataclass

if TYPE_CHECKING:
    from omniport.target.write import FileChange

Verb = Literal["create", "edit", "merge", "identical", "keep", "delete", "conflict"]
#: ``keep`` is a file that stays as it is although the port has another one now, ``merge`` one with both sides' changes.
FileUpdate = FileOutcome[Verb]


@dataclass(frozen=True)
class UpdateResult:
    """What an update did, or with ``dry_run`` would do; ``was`` and ``now`` are the inputs of both ports."""

    name: str
    root: Path
    files: tuple[FileUpdate, ...]
    was: dict[str, Any]
    now: dict[str, Any]
    notes: tuple[str, ...]
    dry_run: bool
    diffs: tuple[str, ...]

    @property
    def conflicts(self) -> tuple[FileUpdate, ...]:
        return tuple(f for f in self.files if f.verb == "conflict")

    def to_data(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "root": str(self.root),
            "dry_run": self.dry_run,
            "was": self.was,
            "now": self.now,
            "files": outcome_data(self.files),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        changed = [
            f"  {key}: {self.was.get(key)} -> {self.now[key]}" for key in self.now if self.was.get(key) != self.now[key]
        ]
        lines = [f"{self.name} in {self.root}", *(changed or ["  the inputs are the same"]), ""]
        lines += outcome_lines(self.files)
        lines += [f"note: {note}" for note in self.notes]
        if self.conflicts:
            lines += ["", f"{len(self.conflicts)} file(s) with conflicts; resolve them where they are marked"]
        if self.dry_run:
            lines += ["", "dry run: nothing was written"]
        return "\n".join([*self.diffs, *lines])


def update(
    where: Path,
    *,
    name: str | None = None,
    revision: str | None = None,
    source: Path | None = None,
    dry_run: bool = False,
    diff: bool = False,
    offline: bool = False,
) -> UpdateResult:
    """Port again what the manifest at ``where`` records, and merge.

    Args:
        where: the tree or the plugin that holds the port.
        name: which port, where there are several.
        revision: of the model's repository; the newest if None.
        source: reference source; the installed diffusers if None.  A model's own code has to be given.

    Raises:
        OmniportError: there is no such port, it cannot be made again, or there is nothing to merge against.
    """
    from omniport.custom.into import generate_custom
    from omniport.port import analyse
    from omniport.scaffold import generate
    from omniport.target import journal, write
    from omniport.target.pristine import pristine
    from omniport.target.tree import installed_target, open_target

    root, known = recorded_port(where, name)
    into = in_tree(known)
    custom = known.inputs.get("form") == "custom"
    if custom and source is None:
        raise OmniportError(f"{known.name} is a port of a model's own code: give that code with --source DIR")
    if not dry_run:
        write.require_writable(root)
        journal.recover(root)
    target = open_target(root, writable=not dry_run) if into else installed_target()
    base = pristine(root, known)
    model = str(known.inputs["model"])
    if custom and source is not None:
        asked = dict(known.inputs.get("options") or {})
        made = generate_custom(
            model,
            source,
            target=target,
            name=known.name,
            backbone=asked.get("backbone"),
            media=asked.get("media"),
            revision=revision,
            offline=offline,
        )
    else:
        with Beside() as beside:
            found = analyse(
                model,
                target=target,
                source=source,
                revision=revision,
                offline=offline,
                name=known.name,
                beside=beside,
                writing=True,
            )
            made = generate(found, model, target=target, into=into, root=root, dry_run=dry_run, beside=beside)
    files = _merged(root, base, made.changes)
    texts = {f.path: f.new for f in files if f.verb != "conflict" and f.new is not None}
    whole = [write.FileChange(c.path, texts.get(c.path, c.content), c.verb) for c in made.changes]
    write.check(whole, package=target.package, others=made.packages)
    if not dry_run:
        _apply(root, files)
    old, new = known.inputs, _inputs_of(made.changes)
    return UpdateResult(
        name=known.name,
        root=root,
        files=tuple(files),
        was=old,
        now=new,
        notes=made.notes,
        dry_run=dry_run,
        diffs=tuple(_diff(f) for f in files if f.old != f.new) if diff else (),
    )


def _merged(root: Path, base: Mapping[str, str], changes: Sequence[FileChange]) -> list[FileUpdate]:
    """Each file of the old port and of the new one."""
    from omniport.target.paths import confine
    from omniport.target.registry import read_text

    def on_disk(path: str) -> str | None:
        place = confine(root, path)
        return read_text(place) if place.is_file() else None

    found = []
    for change in changes:
        ours = on_disk(change.path)
        if change.verb != "create":
            verb: Verb = "create" if ours is None else "identical" if ours == change.content else "edit"
            found.append(FileUpdate(change.path, verb, ours, change.content))
        else:
            found.append(_merge_one(change.path, ours, base.get(change.path), change.content))
    for path in base.keys() - {change.path for change in changes}:
        ours = on_disk(path)
        if ours is None:
            continue
        if ours == base[path]:
            found.append(FileUpdate(path, "delete", ours, None, "no longer part of the port"))
        else:
            found.append(FileUpdate(path, "keep", ours, ours, "no longer part of the port, and edited"))
    return sorted(found, key=lambda f: f.path)


def _merge_one(path: str, ours: str | None, base: str | None, theirs: str) -> FileUpdate:
    from omniport.target.merge import merge

    if ours is None:
        if base is None:
            return FileUpdate(path, "create", None, theirs)
        if base == theirs:
            return FileUpdate(path, "keep", None, None, "deleted since it was written")
        return FileUpdate(path, "conflict", None, None, "deleted since it was written, and changed by the update")
    if base is None and ours != theirs:
        return FileUpdate(path, "conflict", ours, ours, "not written by omniport, and now part of the port")
    merged = merge(ours, theirs if base is None else base, theirs)
    if merged.conflicts:
        return FileUpdate(path, "conflict", ours, merged.text, f"{merged.conflicts} place(s) marked in it")
    if path.endswith(".py") and merged.text != ours:
        try:
            compile(merged.text.removeprefix("\ufeff"), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError) as error:
            return FileUpdate(path, "conflict", ours, merged.text, f"both changes together are not valid: {error}")
    verb: Verb = "identical" if merged.text == ours else "edit" if ours == base else "merge"
    return FileUpdate(path, verb, ours, merged.text)


def _apply(root: Path, files: Sequence[FileUpdate]) -> None:
    from omniport.target import journal

    journal.commit(root, [journal.text_write(f.path, f.new) for f in files if f.old != f.new])
    journal.drop_empty_folders(root, [f.path for f in files if f.new is None and f.old is not None])


def _inputs_of(changes: Sequence[FileChange]) -> dict[str, Any]:
    import json

    return dict(json.loads(next(c.content for c in changes if c.verb == "manifest"))["inputs"])


def _diff(file: FileUpdate) -> str:
    from omniport.target.write import FileStatus, diff

    return diff(FileStatus(file.path, "edit", file.old, file.new or ""))
