"""Ports that were written before: which one is meant, and what becomes of its files."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from omniport.errors import OmniportError
from omniport.records import dataclass

if TYPE_CHECKING:
    from omniport.target.manifest import Manifest

Verb = TypeVar("Verb", bound=str)


@dataclass(frozen=True)
class FileOutcome(Generic[Verb]):
    """What becomes of a file: ``old`` is its text on disk, ``new`` the one it gets; None where there is no file."""

    path: str
    verb: Verb
    old: str | None
    new: str | None
    reason: str = ""


def outcome_data(files: Iterable[FileOutcome[Any]]) -> list[dict[str, str]]:
    """A row for each file, as JSON holds it."""
    return [{"path": f.path, "verb": f.verb, **({"reason": f.reason} if f.reason else {})} for f in files]


def outcome_lines(files: Iterable[FileOutcome[Any]]) -> list[str]:
    """A line for each file, as a command prints it."""
    return [f"{f.verb:>9}  {f.path}{'  (' + f.reason + ')' if f.reason else ''}" for f in files]


def recorded_port(where: Path, name: str | None) -> tuple[Path, Manifest]:
    """The root and the manifest of the port at ``where``: a tree, a plugin, or the folder of a port's modules.

    Raises:
        OmniportError: there is none, or there are several and ``name`` does not say which.
    """
    from omniport.target import manifest

    if not where.exists():
        raise OmniportError(f"{where}: no such folder")
    root, name = home(where, name)
    ports = manifest.find(root)
    if name is not None and name not in ports:
        raise OmniportError(f"{where} holds no port named {name!r}; it holds {', '.join(ports) or 'none'}")
    if not ports:
        raise OmniportError(
            f"{where} holds no port: there is no .omniport/<name>.json; give its tree or its plugin, or write one: "
            f"omniport scaffold MODEL --into {shlex.quote(str(where))}"
        )
    if name is None and len(ports) > 1:
        raise OmniportError(f"{where} holds several ports ({', '.join(ports)}); choose one with --name")
    return root, ports[name or next(iter(ports))]


def home(where: Path, name: str | None) -> tuple[Path, str | None]:
    """The root of what ``where`` names, and the port: the folder of a port's modules, as for ``check``, names both."""
    from omniport.target import manifest
    from omniport.target.paths import STATE

    root = where.absolute()
    if (root / STATE).is_dir():
        return root, name
    above = next((p for p in root.parents if (p / STATE).is_dir()), None)
    if above is not None:
        inside = root.relative_to(above).as_posix()
        for known in manifest.find(above).values():
            pipeline = f"{inside}/{known.port.pipeline_module.rpartition('.')[2]}.py"
            if name in (None, known.name) and any(f.path == pipeline for f in known.files):
                return above, known.name
    return root, name


def in_tree(port: Manifest) -> bool:
    """Whether a port is part of a tree rather than a package of its own."""
    return port.port.pipeline_module.startswith("vllm_omni.")
