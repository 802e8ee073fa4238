"""A hub that redirects, lies about lengths, dawdles, asks to wait or talks nonsense; tokens stay where they belong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from omniport.errors import OmniportError
from omniport.hub import client, open_model
from omniport.source.tree import SourceTree
from tests.support.hubserver import Blob, FakeRepo, HubServer, serve

FLUX = "black-forest-labs/FLUX.1-dev"
SANA = "Efficient-Large-Model/Sana_1600M_1024px_diffusers"
TOKEN = "hf_" + "x" * 34


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)


def test_a_redirect_to_another_host_is_followed_without_the_token(
    hub: HubServer, source: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve() as other:
        hub.redirects[".safetensors"] = other.endpoint
        assert open_model(SANA, source=source).weights("transformer")
        assert other.requests and not other.tokens
    assert hub.tokens == [f"Bearer {TOKEN}"] * len(hub.tokens) and hub.tokens


def test_a_redirect_in_a_circle_is_one_message(hub: HubServer, source: SourceTree) -> None:
    hub.redirects["/api/"] = hub.endpoint
    with pytest.raises(OmniportError, match="FLUX.1-dev: .*"):
        open_model(FLUX, source=source)


@pytest.mark.parametrize("part", ["/api/", "file", "header"])
def test_a_length_that_is_not_kept_is_one_message(hub: HubServer, source: SourceTree, part: str) -> None:
    repo = None if part == "/api/" else open_model(SANA, source=source)
    hub.longer = 7
    with pytest.raises(OmniportError, match="broke off|Consistency|damaged"):
        if repo is None:
            open_model(SANA, source=source)
        elif part == "file":
            repo.config("scheduler")
        else:
            repo.weights("transformer")


def test_a_file_of_another_size_than_listed_is_refused(hub: HubServer, source: SourceTree) -> None:
    repo = open_model(SANA, source=source)
    known = hub.repo(SANA)
    assert known is not None
    blob = Blob(b'{"a": 1}' + b" " * (2 << 20), (2 << 20) + 8)
    sha = known.sha

    class Same(FakeRepo):
        sha = property(lambda self: commit)  # type: ignore[assignment]

    commit = sha
    hub.repos[SANA] = Same({**known.files, "transformer/config.json": blob})
    with pytest.raises(OmniportError, match="more than 1048576 bytes"):
        repo.config("transformer")


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    hub: HubServer, source: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SLOW", 0.3)
    hub.pause = 0.02
    start = time.monotonic()
    with pytest.raises(OmniportError, match="the list of files: not there after"):
        open_model(FLUX, source=source)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("wait", "message"), [("17", "try again in 17 s"), ("soon\x1b", "try again later"), ("9" * 30, "try again later")]
)
def test_429_says_how_long_to_wait(hub: HubServer, source: SourceTree, wait: str, message: str) -> None:
    hub.status, hub.headers = 429, {"Retry-After": wait}
    with pytest.raises(OmniportError, match=message):
        open_model(FLUX, source=source)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"sha": 3}', b'{"sha": "x", "siblings": []}', b"\xff", b"[" * 99_999]
)
def test_a_listing_that_is_none_is_one_message(hub: HubServer, source: SourceTree, body: bytes) -> None:
    hub.listing = body
    with pytest.raises(OmniportError, match="list of files|no commit"):
        open_model(FLUX, source=source)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_no_token_is_printed_whatever_the_server_says(
    hub: HubServer, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.status, hub.headers = status, {"X-Error-Message": f"bad token {TOKEN}", "Retry-After": TOKEN}
    done = CliRunner().invoke(app, ["scaffold", FLUX, "--plugin", str(tmp_path / "port")])
    assert done.exit_code == 2 and hub.tokens
    assert TOKEN not in done.output and "Traceback" not in done.output
    assert not (tmp_path / "port").exists()
