"""The only module that imports huggingface_hub, and only inside functions: its import costs 0.2 s.

It imports the client's downloads and its HTTP session, not its ``HfApi``, which costs as much again.

Every failure becomes one OmniportError that says what to do.  The access token is found and sent by huggingface_hub; no
message of ours contains it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from omniport import progress
from omniport.errors import OmniportError
from omniport.hub.cache import hub_cache
from omniport.hub.names import is_commit, is_plain_path
from omniport.hub.safetensors import TensorInfo, read_header
from omniport.strict_json import INDEX_LIMIT, read_object

SLOW = 120.0  # seconds for a whole answer: a server that sends a byte now and then is given up
_NO_NETWORK = (
    "check the network, use --offline for a cached model, or name a class of diffusers, which needs no network "
    "(diffusers:FluxPipeline)"
)
_PREFETCH = 512 << 10  # bytes of the first range request: most headers fit, so that one request is enough


def endpoint() -> str:
    """Base URL of the Hub, read when asked and not at import."""
    if address := os.environ.get("HF_ENDPOINT"):
        return address.rstrip("/")
    from huggingface_hub import constants

    return constants.ENDPOINT or "https://huggingface.co"


def offline_by_environment() -> bool:
    """Whether ``HF_HUB_OFFLINE`` (or the older ``TRANSFORMERS_OFFLINE``) forbids the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def _timeout() -> float:
    """Seconds to wait for the server, by the variable that huggingface_hub reads for downloads."""
    try:
        return float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "10"))
    except ValueError:
        return 10.0


def resolve(repo_id: str, revision: str) -> tuple[str, dict[str, int | None]]:
    """Commit sha of ``revision`` and the commit's files with their sizes in bytes: one request."""
    progress.say(f"{repo_id}: asking for its files")
    url = f"{endpoint()}/api/models/{repo_id}/revision/{quote(revision, safe='')}?blobs=true"
    with _translated(repo_id, revision):
        data = b"".join(_reply(url, {}, limit=INDEX_LIMIT, what=f"{repo_id}: the list of files"))
    info = read_object(data, f"{repo_id}: the server's list of files", limit=INDEX_LIMIT).value
    commit, siblings = info.get("sha"), info.get("siblings")
    if not isinstance(commit, str) or not is_commit(commit):
        raise OmniportError(f"{repo_id}: the server names no commit for revision {revision!r}")
    sizes: dict[str, int | None] = {}
    for item in siblings if isinstance(siblings, list) else []:
        path, size = (item.get("rfilename"), item.get("size")) if isinstance(item, dict) else (None, None)
        if isinstance(path, str) and is_plain_path(path):
            sizes[path] = size if type(size) is int and size >= 0 else None
    return commit, sizes


def download(repo_id: str, commit: str, path: str) -> Path:
    """Fetch one file of a commit into the Hub's cache."""
    progress.say(f"{repo_id}: {path}")
    _utils()
    from huggingface_hub.file_download import hf_hub_download

    with _translated(repo_id, commit, path), _quiet():
        found: Any = hf_hub_download(
            repo_id,
            path,
            revision=commit,
            cache_dir=hub_cache(),
            endpoint=endpoint(),
            etag_timeout=_timeout(),
        )
    return Path(found)


def fetch_header(repo_id: str, commit: str, path: str, file_size: int | None) -> dict[str, TensorInfo]:
    """Safetensors header of one file by range requests; no weights are read."""
    progress.say(f"{repo_id}: names in {path}")
    _utils()
    from huggingface_hub.file_download import hf_hub_url

    url = hf_hub_url(repo_id, path, revision=commit, endpoint=endpoint())
    held = b""

    def read(begin: int, end: int) -> bytes:
        nonlocal held
        if end > len(held):
            last = max(end, _PREFETCH) - 1
            what = f"{repo_id}: {path}: the range asked for"
            with _translated(repo_id, commit, path):
                reply = _reply(url, {"Range": f"bytes={len(held)}-{last}"}, limit=last + 1 - len(held), what=what)
                held += b"".join(reply)
        return held[begin:end]

    return read_header(read, f"{repo_id}/{path}", file_size)


def _reply(url: str, headers: dict[str, str], *, limit: int, what: str) -> Iterator[bytes]:
    """What the server answers, read no further than ``limit`` bytes.

    Raises:
        OmniportError: more than that, or all of a file where a range of it was asked for.
    """
    utils = _utils()
    headers = utils.build_hf_headers() | headers
    session = utils.get_session()
    with session.stream("GET", url, headers=headers, follow_redirects=True, timeout=_timeout()) as reply:
        utils.hf_raise_for_status(reply)
        if "Range" in headers and reply.status_code != 206:
            raise OmniportError(f"{what}: the server ignores range requests")
        end = time.monotonic() + SLOW
        for chunk in reply.iter_bytes():
            if time.monotonic() > end:
                raise OmniportError(f"{what}: not there after {SLOW:.0f} s; try again, or use --offline")
            limit -= len(chunk)
            if limit < 0:
                raise OmniportError(f"{what}: the server sends more")
            yield chunk


@functools.cache
def _utils() -> Any:
    """``huggingface_hub.utils``.

    httpx tries to import its own command line, and with it rich, pygments and click, which is a third of the import;
    where that fails it does without.
    """
    held_back = [name for name in ("httpx._main", "httpx2._main") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(held_back))  # type: ignore[arg-type]
    try:
        return import_module("huggingface_hub.utils")
    finally:
        for name in held_back:
            del sys.modules[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    utils = _utils()
    if utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


@contextlib.contextmanager
def _translated(repo_id: str, revision: str, path: str = "") -> Iterator[None]:
    from huggingface_hub import errors

    what = f"{repo_id}: {path}" if path else repo_id
    try:
        yield
    except OmniportError:
        raise
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, _http().HTTPError, OSError, ValueError) as error:
        raise OmniportError(f"{what}: {_explain(error, repo_id, revision)}") from None


def _http() -> Any:
    """The HTTP library of the installed huggingface_hub: httpx, or its successor httpx2 with the same names."""
    return import_module(type(_utils().get_session()).__module__.partition(".")[0])


def _explain(error: BaseException, repo_id: str, revision: str) -> str:
    """What went wrong and what to do; for a wrapped network error, of the error inside."""
    from huggingface_hub import errors

    http = _http()
    where = endpoint()
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the repository is gated; accept its licence at {where}/{repo_id}, then log in with `hf auth login`"
            " (or set HF_TOKEN)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"no revision {revision!r}"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        # The Hub answers 401 for a repository that does not exist as for one that is private.
        return f"no such repository at {where}; check the spelling, or log in with `hf auth login` if it is private"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if isinstance(error.__cause__, Exception):
            return _explain(error.__cause__, repo_id, revision)
        return f"cannot reach {where}; {_NO_NETWORK}"
    if isinstance(error, errors.EntryNotFoundError):
        return f"no such file at revision {revision}"
    if status == 403:
        return "the server refuses access (403); accept the licence, log in with `hf auth login`, or check your token"
    if status == 429:
        wait = str(getattr(error, "response").headers.get("Retry-After", ""))  # noqa: B009  # errors of several types
        when = f"in {wait} s" if wait.isascii() and wait.isdigit() and len(wait) < 7 else "later"
        return f"the server asks to slow down (429 Too Many Requests); try again {when}, or log in"
    if status is not None:
        return f"the server answers {status}; try again later"
    if isinstance(error, http.TimeoutException):
        return f"no answer from {where} within {_timeout():g} s; {_NO_NETWORK}"
    if isinstance(error, http.ConnectError):
        return f"cannot reach {where}; {_NO_NETWORK}"
    if isinstance(error, http.HTTPError):
        return f"the connection to {where} broke off; try again, or use --offline for a cached model"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
