"""The vLLM-Omni tree that a port stands in, as far as its text says something about the port."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omniport.check.source import SourceFile, constant, keyword
from omniport.errors import OmniportError
from omniport.plan.todos import DOWNLOAD
from omniport.records import dataclass

if TYPE_CHECKING:
    from omniport.target.registry import RegistryView

METADATA = "model_metadata.py"
FEATURES_PAGE = "docs/user_guide/diffusion_features.md"


@dataclass(frozen=True)
class Tree:
    """``diffusion`` is the folder ``vllm_omni/diffusion``; the root is where a checkout keeps its docs."""

    diffusion: Path

    @property
    def root(self) -> Path:
        return self.diffusion.parent.parent

    def inputs(self, port: str) -> list[Path]:
        """The files that rules read beside those of the port."""
        files = [self.diffusion / "registry.py", self.diffusion / METADATA, self.root / FEATURES_PAGE]
        return [file for file in (*files, self._script(port)) if file.is_file()]

    def _script(self, port: str) -> Path:
        return self.root / DOWNLOAD.format(name=port)

    def download_of(self, port: str) -> SourceFile | None:
        """The script that fetches the weights of a port, if it has one that is Python."""
        file = self._script(port)
        try:
            return SourceFile(shown(file), file.read_text("utf-8")) if file.is_file() else None
        except (OSError, ValueError, SyntaxError):
            return None

    @functools.cached_property
    def registry(self) -> RegistryView | None:
        """The registry, or None where there is none that can be read."""
        from omniport.target.registry import read_registry

        try:
            return read_registry(self.diffusion.parent)
        except OmniportError:
            return None

    def keys_of(self, folder: str) -> Iterator[str]:
        """The registry's keys whose class is in this folder of ``models``."""
        for key, row in self.registry.models.items() if self.registry is not None else ():
            if row.folder == folder:
                yield key

    @functools.cached_property
    def registry_source(self) -> SourceFile:
        return SourceFile(shown(self.diffusion / "registry.py"), (self.diffusion / "registry.py").read_text("utf-8"))

    @functools.cached_property
    def video_keys(self) -> frozenset[str] | None:
        """Registry keys declared to put out video; None in a tree that has no such declaration."""
        file = self.diffusion / METADATA
        text = file.read_text("utf-8") if file.is_file() else ""
        if "final_output_type" not in text:
            return None
        found: set[str] = set()
        aliases: dict[str, str] = {}
        for table in ast.walk(ast.parse(text)):
            for key, value in zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ():
                name = constant(key)
                if isinstance(name, str) and isinstance(value, ast.Call):
                    if constant(keyword(value, "final_output_type")) == "video":
                        found.add(name)
                elif isinstance(name, str) and isinstance(other := constant(value), str):
                    aliases[name] = other
        return frozenset(found | {name for name, other in aliases.items() if other in found})

    @functools.cached_property
    def features_page(self) -> str:
        """The docs page with the tables of features; empty outside a checkout."""
        page = self.root / FEATURES_PAGE
        return page.read_text("utf-8") if page.is_file() else ""


@functools.lru_cache(64)
def _tree(diffusion: Path) -> Tree:
    return Tree(diffusion)


def tree_of(file: Path) -> Tree | None:
    """The tree in whose ``vllm_omni/diffusion/models`` a file lies."""
    for parent in file.resolve().parents:
        if parent.name == "models" and parent.parent.name == "diffusion" and (parent.parent / "registry.py").is_file():
            return _tree(parent.parent)
    return None


def shown(path: Path) -> Path:
    """The path as given, relative to the working directory where it lies below it."""
    try:
        return path.relative_to(Path.cwd()) if path.is_absolute() else path
    except ValueError:
        return path
