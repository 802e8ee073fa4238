"""What is already on this machine: the Hub's own cache (files) and ours (listings, resolved revisions, headers).

The layout of the Hub's cache is read directly, so that a cached model opens without importing huggingface_hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from omniport.folders import own_cache, user_cache
from omniport.hub.names import is_commit
from omniport.hub.safetensors import TensorInfo

_SCHEMA = 1


def hub_cache() -> Path:
    """Folder of the Hub's cache, by the environment variables that huggingface_hub reads."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME")
    return (Path(home).expanduser() if home else user_cache() / "huggingface") / "hub"


class RepoCache:
    """Cached state of one Hub repository."""

    def __init__(self, repo_id: str) -> None:
        folder = "models--" + repo_id.replace("/", "--")
        self.files_folder = hub_cache() / folder
        self.own_folder = own_cache() / "hub" / folder

    def revision(self, revision: str) -> str | None:
        """Commit that ``revision`` was last resolved to, here or by another tool; None if it never was."""
        if is_commit(revision):
            return revision
        commit = self._load("refs.json").get(revision)
        if commit is None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                commit = (self.files_folder / "refs" / revision).read_text("utf-8").strip()
        return commit if isinstance(commit, str) and is_commit(commit) else None

    def set_revision(self, revision: str, commit: str) -> None:
        refs = self._load("refs.json")
        refs[revision] = commit
        self._store("refs.json", refs)

    def sizes(self, commit: str) -> dict[str, int | None] | None:
        """Files of the commit with their sizes in bytes; None if the listing was never fetched."""
        files = self._load(f"{commit}/files.json").get("files")
        return files if isinstance(files, dict) else None

    def set_sizes(self, commit: str, sizes: dict[str, int | None]) -> None:
        self._store(f"{commit}/files.json", {"files": sizes})

    def snapshot(self, commit: str) -> list[str]:
        """Files of the commit that lie in the Hub's cache."""
        folder = self.files_folder / "snapshots" / commit
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def file(self, commit: str, path: str) -> Path | None:
        """The cached file, or None."""
        found = self.files_folder / "snapshots" / commit / path
        return found if found.is_file() else None

    def header(self, commit: str, path: str) -> dict[str, TensorInfo] | None:
        """A cached safetensors header, or None."""
        tensors = self._load(f"{commit}/{path}.header.json").get("tensors")
        if not isinstance(tensors, dict):
            return None
        try:
            return {name: TensorInfo(dtype, tuple(shape)) for name, (dtype, shape) in tensors.items()}
        except (TypeError, ValueError):
            return None

    def set_header(self, commit: str, path: str, tensors: dict[str, TensorInfo]) -> None:
        rows = {name: [info.dtype, list(info.shape)] for name, info in tensors.items()}
        self._store(f"{commit}/{path}.header.json", {"tensors": rows})

    def _load(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.own_folder / name).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) and value.pop("schema", None) == _SCHEMA else {}

    def _store(self, name: str, value: dict[str, Any]) -> None:
        """Write atomically; a cache that cannot be written is no error, only slower next time."""
        path = self.own_folder / name
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    json.dump({"schema": _SCHEMA, **value}, stream)
                Path(temporary).replace(path)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
