"""Where the files of a model are: a local folder, the Hub (through the caches), or nowhere (``diffusers:<Class>``)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from omniport.errors import OmniportError
from omniport.hub.cache import RepoCache
from omniport.hub.names import is_commit
from omniport.hub.safetensors import TensorInfo, read_header


class Store(Protocol):
    """Files of one model at one revision."""

    revision: str | None

    def files(self) -> list[str]:
        """Relative POSIX paths, sorted."""

    def read(self, path: str, limit: int) -> bytes:
        """Content of a listed file; raises OmniportError above ``limit`` bytes."""

    def header(self, path: str) -> dict[str, TensorInfo]:
        """Tensors of a listed safetensors file, without its data."""

    def name(self, path: str) -> str:
        """How messages call the file."""


class NoStore:
    """The store of ``diffusers:<Class>``: no files."""

    revision: str | None = None

    def files(self) -> list[str]:
        return []

    def read(self, path: str, limit: int) -> bytes:
        raise OmniportError(f"{path}: no such file")

    def header(self, path: str) -> dict[str, TensorInfo]:
        raise OmniportError(f"{path}: no such file")

    def name(self, path: str) -> str:
        return path


class LocalStore:
    """A folder.  Links that lead out of it are refused, except a Hub snapshot's own into its cache's ``blobs``."""

    revision: str | None = None

    def __init__(self, folder: str) -> None:
        self.given = folder
        self.folder = Path(folder).resolve()
        self.roots = [self.folder]
        if self.folder.parent.name == "snapshots":
            self.roots.append(self.folder.parent.parent / "blobs")
            if is_commit(self.folder.name):
                self.revision = self.folder.name

    def files(self) -> list[str]:
        """Files of the folder and of its direct subfolders: a diffusers layout has no deeper ones."""
        found = [*self.folder.glob("*"), *self.folder.glob("*/*")]
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    def read(self, path: str, limit: int) -> bytes:
        file = self._file(path)
        size = file.stat().st_size
        if size > limit:
            raise OmniportError(f"{self.name(path)}: {size} bytes; more than {limit} are refused")
        return file.read_bytes()

    def header(self, path: str) -> dict[str, TensorInfo]:
        file = self._file(path)
        with file.open("rb") as stream:

            def read(begin: int, end: int) -> bytes:
                stream.seek(begin)
                return stream.read(end - begin)

            return read_header(read, self.name(path), file.stat().st_size)

    def name(self, path: str) -> str:
        return str(Path(self.given) / path)

    def _file(self, path: str) -> Path:
        file = (self.folder / path).resolve()
        if not any(file.is_relative_to(root) for root in self.roots):
            raise OmniportError(f"{self.name(path)}: a link that leads out of the model folder; refused")
        if not file.is_file():
            raise OmniportError(f"{self.name(path)}: no such file")
        return file


class HubStore:
    """A Hub repository at one commit.  The revision is resolved once; everything after is asked for by commit."""

    revision: str | None

    def __init__(self, repo_id: str, revision: str, offline: bool) -> None:
        self.repo_id, self.offline = repo_id, offline
        self.cache = RepoCache(repo_id)
        commit = self.cache.revision(revision)
        sizes = self.cache.sizes(commit) if commit else None
        if offline:
            if commit is None or (sizes is None and not self.cache.snapshot(commit)):
                raise OmniportError(f"{repo_id}: revision {revision!r} is not in the cache; run once without --offline")
            sizes = sizes if sizes is not None else dict.fromkeys(self.cache.snapshot(commit))
        elif not is_commit(revision) or sizes is None:
            from omniport.hub import client

            commit, sizes = client.resolve(repo_id, revision)
            self.cache.set_revision(revision, commit)
            self.cache.set_sizes(commit, sizes)
        assert commit is not None and sizes is not None
        self.commit, self.sizes = commit, sizes
        self.revision = commit

    def files(self) -> list[str]:
        return sorted(self.sizes)

    def read(self, path: str, limit: int) -> bytes:
        size = self.sizes.get(path)
        if size is not None and size > limit:
            raise OmniportError(f"{self.name(path)}: {size} bytes; more than {limit} are refused")
        file = self.cache.file(self.commit, path)
        if file is None:
            if self.offline:
                raise OmniportError(f"{self.name(path)}: not in the cache; run once without --offline")
            from omniport.hub import client

            file = client.download(self.repo_id, self.commit, path)
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise OmniportError(f"{self.name(path)}: more than {limit} bytes; refused")
        return data

    def header(self, path: str) -> dict[str, TensorInfo]:
        tensors = self.cache.header(self.commit, path)
        if tensors is not None:
            return tensors
        file = self.cache.file(self.commit, path)
        if file is not None:
            with file.open("rb") as stream:

                def read(begin: int, end: int) -> bytes:
                    stream.seek(begin)
                    return stream.read(end - begin)

                return read_header(read, self.name(path), file.stat().st_size)
        if self.offline:
            raise OmniportError(f"{self.name(path)}: its header is not in the cache; run once without --offline")
        from omniport.hub import client

        tensors = client.fetch_header(self.repo_id, self.commit, path, self.sizes.get(path))
        self.cache.set_header(self.commit, path, tensors)
        return tensors

    def name(self, path: str) -> str:
        return f"{self.repo_id}/{path}"
