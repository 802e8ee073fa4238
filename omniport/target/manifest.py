"""The manifest of a port, ``.omniport/<name>.json`` at the root of the tree or plugin: what it was made from, and of.

It holds the inputs, every file with its sha256, every decision and every open TODO, and nothing that differs between
two runs with the same inputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

from omniport import __version__
from omniport.errors import OmniportError
from omniport.plan.model import PortPlan
from omniport.plan.serial import from_data, to_data
from omniport.records import dataclass
from omniport.strict_json import read_record
from omniport.target.paths import STATE

SCHEMA = 1
_SIZE = 16 << 20  # bytes; a manifest is some 100 kB
_SHA = re.compile(r"[0-9a-f]{64}\Z")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


@dataclass(frozen=True)
class PortEntry:
    """The classes of a port and of its reference, as dotted names; ``architecture`` is the key in the registry."""

    architecture: str
    pipeline_module: str
    pipeline_class: str
    transformer_module: str
    transformer_class: str
    post_process: str | None
    pre_process: str | None
    reference_pipeline: str
    reference_transformer: str


@dataclass(frozen=True)
class FileEntry:
    """A file that the port wrote (``create``) or put rows into (``edit``), with the sha256 it had then."""

    path: str
    sha256: str
    verb: Literal["create", "edit"]


@dataclass(frozen=True)
class Manifest:
    """A manifest in memory.  ``inputs``, ``model_index``, ``configs`` and ``plan`` are plain JSON data."""

    name: str
    inputs: dict[str, Any]
    port: PortEntry
    model_index: dict[str, Any]
    configs: dict[str, Any]
    files: tuple[FileEntry, ...]
    plan: dict[str, Any]
    todos: tuple[dict[str, Any], ...] = ()
    omniport: str = __version__
    schema: int = field(default=SCHEMA)

    @property
    def path(self) -> str:
        """Its place below the root."""
        return f"{STATE}/{self.name}.json"

    def port_plan(self) -> PortPlan:
        """The plan as typed data; raises ValueError where another version of omniport wrote it differently."""
        return from_data(PortPlan, self.plan)


def build(
    plan: PortPlan,
    port: PortEntry,
    files: Iterable[FileEntry],
    *,
    inputs: Mapping[str, Any],
    model_index: Mapping[str, Any],
    configs: Mapping[str, Any],
) -> Manifest:
    """The manifest of a port; ``files`` come in the order of their paths."""
    return Manifest(
        name=plan.name,
        inputs=dict(inputs),
        port=port,
        model_index=dict(model_index),
        configs=dict(configs),
        files=tuple(sorted(files, key=lambda f: f.path)),
        plan=to_data(plan),
        todos=tuple(to_data(todo) for todo in plan.todos),
    )


def dumps(manifest: Manifest) -> str:
    """The text of the manifest; the same manifest gives the same bytes.

    Infinity stays: diffusers writes it into the configuration of a scheduler, and the reader of JSON admits it there.
    """
    head = {"schema": manifest.schema, "omniport": manifest.omniport, "name": manifest.name}
    data = {**head, **{k: v for k, v in asdict(manifest).items() if k not in head}}
    return json.dumps(data, indent=2, ensure_ascii=True) + "\n"


def load(path: Path) -> Manifest:
    """Read and validate a manifest.

    Raises:
        OmniportError: it cannot be read, has another form, or names a path that leaves the root.
    """
    data = read_record(path, limit=_SIZE, infinity=True)
    try:
        return _validated(data, path.stem)
    except (ValueError, KeyError, TypeError, OmniportError) as error:
        raise OmniportError(f"{path}: no valid manifest: {error}") from None


def find(root: Path) -> dict[str, Manifest]:
    """Every manifest below ``root``, by name; raises OmniportError if one cannot be read."""
    folder = root / STATE
    paths = sorted(p for p in folder.glob("*.json") if NAME.match(p.stem) and p.stem != "journal")
    return {p.stem: load(p) for p in paths}


def owned(root: Path) -> dict[str, str]:
    """Path -> sha256 of the files below ``root`` that omniport wrote."""
    return {f.path: f.sha256 for m in find(root).values() for f in m.files if f.verb == "create"}


def problem(path: Path) -> str:
    """Why ``path`` may not be overwritten by a manifest; empty if it is one."""
    try:
        load(path)
    except OmniportError as error:
        return str(error)
    return ""


def check_port(port: PortEntry) -> None:
    """Raise OmniportError unless every entry is a name, or a dotted name where it names a module or a reference."""
    for key, value in asdict(port).items():
        pattern = _DOTTED if key.endswith("_module") or key.startswith("reference_") else _IDENTIFIER
        if value is not None and not pattern.match(value):
            raise OmniportError(f"{key} {value!r} is no name")


def _validated(data: dict[str, Any], stem: str) -> Manifest:
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema {data.get('schema')!r} is not {SCHEMA}; another omniport wrote it")
    expected = {"schema", "omniport", "name", "inputs", "port", "model_index", "configs", "files", "plan", "todos"}
    if wrong := expected.symmetric_difference(data):
        raise ValueError(f"missing or unknown keys {sorted(wrong)}")
    name = data["name"]
    if not isinstance(name, str) or not NAME.match(name) or name != stem:
        raise ValueError(f"name {name!r} does not fit the file")
    for key in ("inputs", "model_index", "configs", "plan"):
        if not isinstance(data[key], dict):
            raise ValueError(f"{key} is no object")
    if not isinstance(data["omniport"], str):
        raise ValueError("omniport is no version")
    port = from_data(PortEntry, data["port"])
    check_port(port)
    todos = data["todos"]
    if not isinstance(todos, list) or not all(isinstance(t, dict) for t in todos):
        raise ValueError("todos is no list of objects")
    files = data["files"]
    if not isinstance(files, list):
        raise ValueError("files is no list")
    entries = tuple(from_data(FileEntry, f) for f in files)
    for entry in entries:
        if not _SHA.match(entry.sha256) or ".." in entry.path.split("/") or entry.path.startswith("/"):
            raise ValueError(f"file {entry.path!r} has no place or sum")
    return Manifest(
        name=name,
        inputs=data["inputs"],
        port=port,
        model_index=data["model_index"],
        configs=data["configs"],
        files=entries,
        plan=data["plan"],
        todos=tuple(todos),
        omniport=data["omniport"],
    )
