"""``omniport remove``: a port taken out of its tree again, its rows in the tree's files included."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omniport.errors import FindingsError, OmniportError
from omniport.recorded import FileOutcome, in_tree, outcome_data, outcome_lines, recorded_port
from omniport.records import dataclass

if TYPE_CHECKING:
    from omniport.target.manifest import Manifest

Verb = Literal["delete", "edit", "identical", "gone", "conflict"]
#: ``edit`` takes our rows out of a file; one that is ``identical`` has no such rows.
FileRemoval = FileOutcome[Verb]


@dataclass(frozen=True)
class RemovalResult:
    """What removing did, or with ``dry_run`` would do."""

    name: str
    root: Path
    files: tuple[FileRemoval, ...]
    dry_run: bool
    note: str = ""

    def to_data(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "root": str(self.root),
            "dry_run": self.dry_run,
            "files": outcome_data(self.files),
            **({"note": self.note} if self.note else {}),
        }

    def text(self) -> str:
        lines = [f"{self.name} of {self.root}", ""]
        lines += outcome_lines(self.files)
        lines += [f"note: {self.note}"] if self.note else []
        if self.dry_run:
            lines += ["", "dry run: nothing was written"]
        return "\n".join(lines)


def remove(where: Path, *, name: str | None = None, dry_run: bool = False, force: bool = False) -> RemovalResult:
    """Take out the port that the manifest at ``where`` records.

    Files that were edited since stand in the way unless ``force``.  The row of another implementation that the port
    has replaced in the registry does not come back.

    Raises:
        OmniportError: there is no such port, or a file cannot be edited.
        FindingsError: files were edited; nothing was changed.
    """
    from omniport.target import journal, write

    root, known = recorded_port(where, name)
    if not dry_run:
        write.require_writable(root)
        journal.recover(root)
    files = [*_created(root, known, force), *(_edited(root, known) if in_tree(known) else []), *_records(root, known)]
    stuck = [f for f in files if f.verb == "conflict"]
    if stuck and not dry_run:
        lines = "\n".join(f"  {f.path}: {f.reason}" for f in stuck)
        raise FindingsError(f"nothing removed; these files were edited (--force removes them):\n{lines}")
    if not dry_run:
        writes = [
            journal.Write(f.path, None if f.new is None else f.new.encode("utf-8")) for f in files if f.old != f.new
        ]
        journal.commit(root, writes)
        journal.drop_empty_folders(root, [f.path for f in files if f.verb == "delete"])
    return RemovalResult(known.name, root, tuple(files), dry_run, _replaced(known, files))


def _replaced(port: Manifest, files: list[FileRemoval]) -> str:
    """What a tree lacks now, if the port had taken the row of another one; empty if it had not."""
    from omniport.target.registry import REGISTRY_FILE

    path = port.plan.get("model", {}).get("path")
    edited = next((f.path for f in files if f.path.endswith(REGISTRY_FILE) and f.verb == "edit"), None)
    if path != "already supported" or edited is None:
        return ""
    return (
        f"{edited} has no row for {port.port.architecture} now; the one that this port had replaced does not come back "
        f"by itself: `git checkout -- {edited}` takes the file as it was committed"
    )


def _created(root: Path, port: Manifest, force: bool) -> list[FileRemoval]:
    from omniport.target.paths import confine, sha256
    from omniport.target.registry import read_text

    found = []
    for entry in port.files:
        if entry.verb != "create":
            continue
        place = confine(root, entry.path)
        if not place.is_file():
            found.append(FileRemoval(entry.path, "gone", None, None))
            continue
        text = read_text(place)
        if sha256(text) != entry.sha256 and not force:
            found.append(FileRemoval(entry.path, "conflict", text, text, "edited since it was written"))
        else:
            found.append(FileRemoval(entry.path, "delete", text, None))
    return found


def _edited(root: Path, port: Manifest) -> list[FileRemoval]:
    """The files of the tree without the rows of the port."""
    from omniport.emit.edits import Context, all_edits
    from omniport.target.paths import confine
    from omniport.target.registry import MODELS, read_text
    from omniport.target.registry_edit import remove_rows
    from omniport.target.tree import open_target

    target = open_target(root)
    try:
        plan = port.port_plan()
    except ValueError as error:
        raise OmniportError(
            f"{root / port.path}: another version of omniport recorded the plan ({error}); run omniport update first"
        ) from None
    recorded = frozenset(f.path for f in port.files if f.verb == "edit")
    checkpoint = str(port.inputs.get("checkpoint", ""))
    context = Context(plan, root, target.features, {}, checkpoint, recorded)
    old = {path: read_text(confine(root, path)) for path in recorded if confine(root, path).is_file()}
    texts = dict(old)
    registry = target.registry.file
    row = target.registry.models.get(port.port.architecture)
    ours = row is not None and (row.folder, row.module) == (port.name, f"pipeline_{port.name}")
    if registry in texts and ours:
        texts[registry] = remove_rows(texts[registry], registry, port.port.architecture)
    for edit in all_edits(context):
        if edit.path in texts and (edit.path != registry or ours):
            texts[edit.path] = edit.drop(texts[edit.path])
    found = [FileRemoval(p, "identical" if t == old[p] else "edit", old[p], t) for p, t in texts.items()]
    if not ours:
        found = [
            FileRemoval(f.path, f.verb, f.old, f.new, f"{MODELS} has another row now") if f.path == registry else f
            for f in found
        ]
    return sorted(found, key=lambda f: f.path)


def _records(root: Path, port: Manifest) -> list[FileRemoval]:
    from omniport.target.pristine import pristine_path
    from omniport.target.registry import read_text

    evidence = port.path.removesuffix(".json") + ".evidence.json"
    paths = [p for p in (port.path, pristine_path(port.name), evidence) if (root / p).is_file()]
    return [FileRemoval(path, "delete", read_text(root / path), None) for path in paths]
