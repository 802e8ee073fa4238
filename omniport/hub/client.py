"""The only module that imports huggingface_hub, and only inside functions: its import costs 0.3 s.

Every failure becomes one OmniportError that says what to do.  The access token is found and sent by huggingface_hub; no
message of ours contains it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError
from omniport.hub.cache import hub_cache
from omniport.hub.names import is_commit, is_plain_path
from omniport.hub.safetensors import TensorInfo, read_header

_PREFETCH = 512 << 10  # bytes of the first range request: most headers fit, so that one request is enough


def endpoint() -> str:
    """Base URL of the Hub, read when asked and not at import."""
    if address := os.environ.get("HF_ENDPOINT"):
        return address.rstrip("/")
    from huggingface_hub import constants

    return constants.ENDPOINT


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
    from huggingface_hub import HfApi

    with _translated(repo_id, revision):
        info = HfApi(endpoint=endpoint()).model_info(
            repo_id, revision=revision, timeout=_timeout(), files_metadata=True
        )
    if info.sha is None or not is_commit(info.sha):
        raise OmniportError(f"{repo_id}: the server names no commit for revision {revision!r}")
    siblings = info.siblings or []
    return info.sha, {item.rfilename: item.size for item in siblings if is_plain_path(item.rfilename)}


def download(repo_id: str, commit: str, path: str) -> Path:
    """Fetch one file of a commit into the Hub's cache."""
    from huggingface_hub import hf_hub_download

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
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    url = hf_hub_url(repo_id, path, revision=commit, endpoint=endpoint())
    held = b""

    def read(begin: int, end: int) -> bytes:
        nonlocal held
        if end > len(held):
            headers = build_hf_headers()
            headers["Range"] = f"bytes={len(held)}-{max(end, _PREFETCH) - 1}"
            with (
                _translated(repo_id, commit, path),
                get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=_timeout()) as reply,
            ):
                hf_raise_for_status(reply)
                if reply.status_code != 206:
                    raise OmniportError(f"{repo_id}: {path}: the server ignores range requests")
                for chunk in reply.iter_bytes():
                    held += chunk
                    if len(held) > max(end, _PREFETCH):
                        raise OmniportError(f"{repo_id}: {path}: the server sends more than the range asked for")
        return held[begin:end]

    return read_header(read, f"{repo_id}/{path}", file_size)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


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
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    return import_module(type(get_session()).__module__.partition(".")[0])


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
        return f"cannot reach {where}; check the network, or use --offline for a cached model"
    if isinstance(error, errors.EntryNotFoundError):
        return f"no such file at revision {revision}"
    if status == 403:
        return "the server refuses access (403); accept the licence, log in with `hf auth login`, or check your token"
    if status == 429:
        return "the server asks to slow down (429 Too Many Requests); try again later, or log in"
    if status is not None:
        return f"the server answers {status}; try again later"
    if isinstance(error, http.TimeoutException):
        return f"no answer from {where} within {_timeout():g} s; check the network, or use --offline for a cached model"
    if isinstance(error, http.ConnectError):
        return f"cannot reach {where}; check the network, or use --offline for a cached model"
    if isinstance(error, http.HTTPError):
        return f"the connection to {where} broke off; try again, or use --offline for a cached model"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
