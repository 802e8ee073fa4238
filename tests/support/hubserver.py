"""A small Hub on loopback: the fixture repositories, served with the HTTP API that huggingface_hub speaks.

As a command it starts on a free port, points the environment at itself and runs another command::

    python -m tests.support.hubserver --exec CMD [ARGUMENTS...]
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

FIXTURES = Path(__file__).parents[2] / "fixtures" / "hub"
BYTES = {"BF16": 2, "F16": 2, "F32": 4}
_MODEL = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?\Z")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)\Z")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)\Z")
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Blob:
    """A file: ``head`` are its first bytes, the rest up to ``size`` is zero (weights are never stored)."""

    head: bytes
    size: int

    def read(self, begin: int, end: int) -> bytes:
        return self.head[begin:end].ljust(end - begin, b"\0")

    @property
    def etag(self) -> str:
        return hashlib.sha1(self.head + b"%d" % self.size).hexdigest()


def expand(rows: list[Any]) -> list[tuple[str, list[int]]]:
    """Names and shapes of a ``headers.json`` component, in the order of its files (see fixtures/make_headers.py)."""
    found: list[tuple[str, list[int]]] = []
    for row in rows:
        if isinstance(row, list):
            found.append((row[0], row[1]))
        else:
            for number in range(row["first"], row["first"] + row["count"]):
                found += [(f"{row['block']}{number}.{suffix}", shape) for suffix, shape in row["tensors"]]
    return found


def safetensors(tensors: list[tuple[str, list[int]]], dtype: str) -> Blob:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    cursor = 0
    for name, shape in tensors:
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [cursor, cursor + size]}
        cursor += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Blob(len(text).to_bytes(8, "little") + text, 8 + len(text) + cursor)


def synthesise(component: str, entry: dict[str, Any]) -> dict[str, Blob]:
    """Weight files of a component, and their index if there are several."""
    tensors = expand(entry["tensors"])
    count, base = len(entry["shards"]), f"{component}/{entry['basename']}"
    files: dict[str, Blob] = {}
    weight_map: dict[str, str] = {}
    for number, length in enumerate(entry["shards"], 1):
        part, tensors = tensors[:length], tensors[length:]
        name = f"{base}-{number:05d}-of-{count:05d}.safetensors" if count > 1 else f"{base}.safetensors"
        files[name] = safetensors(part, entry["dtype"])
        weight_map.update(dict.fromkeys((tensor for tensor, _ in part), name.split("/")[1]))
    if count > 1:
        total = sum(math.prod(shape) for _, shape in expand(entry["tensors"])) * BYTES[entry["dtype"]]
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        data = (json.dumps(index, indent=2) + "\n").encode()
        files[f"{base}.safetensors.index.json"] = Blob(data, len(data))
    return files


@dataclass(frozen=True)
class FakeRepo:
    """Files of one repository; its commit is the sha1 over their names and contents."""

    files: dict[str, Blob]

    @property
    def sha(self) -> str:
        digest = hashlib.sha1()
        for name, blob in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + blob.etag.encode())
        return digest.hexdigest()


def load_repo(folder: Path) -> FakeRepo:
    """The repository of a fixture folder: its files, and the weight files that its ``headers.json`` describes."""
    files: dict[str, Blob] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in ("SOURCE.json", "headers.json"):
            data = path.read_bytes()
            files[name] = Blob(data, len(data))
    headers = folder / "headers.json"
    if headers.is_file():
        for component, entry in json.loads(headers.read_text("utf-8")).items():
            files.update(synthesise(component, entry))
    return FakeRepo(files)


@dataclass
class HubServer:
    """The server's state.  ``requests`` lists what was asked: method, path, Range header.

    ``gated`` repositories list their files and refuse to serve them; ``hidden`` ones answer 401 to everything, as the
    Hub does to the anonymous for a repository that does not exist.  A path that contains an item of ``dropped`` is cut
    off after half of the body, one with an item of ``stalled`` is never answered; ``no_ranges`` ignores Range headers;
    ``status`` answers everything with that code and ``headers``; ``redirects`` maps an item of a path to the server
    that it is sent to; ``longer`` adds so many bytes to the length that is announced; ``pause`` waits so many seconds
    between two bytes; ``listing`` is sent in place of a list of files.  ``tokens`` are the Authorization headers that
    came.
    """

    root: Path = FIXTURES
    repos: dict[str, FakeRepo] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    no_ranges: bool = False
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    longer: int = 0
    pause: float = 0.0
    listing: bytes | None = None
    tokens: list[str] = field(default_factory=list)
    endpoint: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def repo(self, name: str) -> FakeRepo | None:
        if name not in self.repos and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and (self.root / name).is_dir():
            self.repos[name] = load_repo(self.root / name)
        return self.repos.get(name)


@contextmanager
def serve(root: Path = FIXTURES) -> Iterator[HubServer]:
    """Run a server on a free loopback port while the block lasts."""
    state = HubServer(root)

    class Handler(_Handler):
        hub = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for the first's receipt, 40 ms

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if token := self.headers.get("Authorization"):
            self.hub.tokens.append(token)
        if other := next((to for item, to in self.hub.redirects.items() if item in path), None):
            self._error(302, "", "moved", {"Location": other + self.path})
        elif any(item in path for item in self.hub.stalled):
            self.hub.released.wait(30)
            self.close_connection = True
        elif self.hub.status is not None:
            self._error(self.hub.status, "", "out of order", self.hub.headers)
        elif match := _MODEL.match(path):
            self._info(match[1], match[2] or "main")
        elif match := _TREE.match(path):
            self._tree(match[1], match[2])
        elif match := _FILE.match(path):
            self._file(match[1], match[2], match[3])
        else:
            self._error(404, "", "not found")

    def _find(self, name: str, revision: str) -> FakeRepo | None:
        repo = self.hub.repo(name)
        if name in self.hub.hidden:
            self._error(401, "", "Invalid username or password.")
        elif repo is None:
            self._error(404, "RepoNotFound", "Repository not found")
        elif revision not in ("main", repo.sha):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo
        return None

    def _info(self, name: str, revision: str) -> None:
        repo = self._find(name, revision)
        if repo is None:
            return
        siblings = [{"rfilename": path, "size": blob.size} for path, blob in sorted(repo.files.items())]
        gated = "auto" if name in self.hub.gated else False
        info = {"id": name, "modelId": name, "sha": repo.sha, "private": False, "gated": gated, "siblings": siblings}
        data = json.dumps({**info, "tags": [], "downloads": 0, "likes": 0}).encode()
        data = data if self.hub.listing is None else self.hub.listing
        self._send(Blob(data, len(data)), 200, {"Content-Type": "application/json"})

    def _tree(self, name: str, revision: str) -> None:
        repo = self._find(name, revision)
        if repo is not None:
            files = [{"type": "file", "path": p, "size": b.size, "oid": b.etag} for p, b in sorted(repo.files.items())]
            data = json.dumps(files).encode()
            self._send(Blob(data, len(data)), 200, {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, path: str) -> None:
        repo = self._find(name, revision)
        if repo is None:
            return
        if name in self.hub.gated:
            self._error(401, "GatedRepo", f"Access to model {name} is restricted.")
        elif path not in repo.files:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.sha})
        else:
            blob = repo.files[path]
            headers = {"X-Repo-Commit": repo.sha, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
            self._send(blob, 200, {**headers, "Content-Type": "application/octet-stream"})

    def _send(self, blob: Blob, status: int, headers: dict[str, str]) -> None:
        begin, end = 0, blob.size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if found and not self.hub.no_ranges:
            begin = int(found[1])
            end = min(int(found[2]) + 1 if found[2] else blob.size, blob.size)
            if begin >= end:
                self._error(416, "", "range not satisfiable", {"Content-Range": f"bytes */{blob.size}"})
                return
            status = 206
            headers = {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{blob.size}"}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(end - begin + self.hub.longer))
        self.end_headers()
        if self.command == "HEAD":
            return
        drop = any(item in self.path for item in self.hub.dropped)
        stop = begin + (end - begin) // 2 if drop else end
        step = 1 if self.hub.pause else _CHUNK
        try:
            for start in range(begin, stop, step):
                self.wfile.write(blob.read(start, min(start + step, stop)))
                if self.hub.pause:
                    self.hub.released.wait(self.hub.pause)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        self.close_connection = self.close_connection or drop or self.hub.longer != 0

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        for key, value in {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}.items():
            if value:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """This process's environment, pointed at the server, with an empty cache below ``home`` and no token."""
    names = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    kept = {key: value for key, value in os.environ.items() if key not in names}
    paths = {"HF_HOME": str(home / "huggingface"), "OMNIPORT_CACHE": str(home / "omniport")}
    return {**kept, **paths, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(arguments: list[str]) -> int:
    """Run the command after ``--exec`` against a fresh server; returns its exit status."""
    if len(arguments) < 2 or arguments[0] != "--exec":
        print(__doc__, file=sys.stderr)
        return 2
    with serve() as hub, tempfile.TemporaryDirectory() as home:
        return subprocess.run(arguments[1:], env=environment(hub.endpoint, Path(home)), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
