"""The real huggingface_hub client against the Hub on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.hub import Repo, TensorInfo, open_model
from omniport.source.tree import SourceTree
from tests.support.hubserver import HubServer, serve

FLUX = "black-forest-labs/FLUX.1-dev"
SANA = "Efficient-Large-Model/Sana_1600M_1024px_diffusers"
API = f"/api/models/{FLUX}/revision/"


def read_all(repo: Repo) -> None:
    for component in repo.index.components:
        repo.config(component)
    repo.weights("transformer")


def test_open_by_branch(hub: HubServer, source: SourceTree) -> None:
    repo = open_model(FLUX, source=source)
    known = hub.repo(FLUX)
    assert known is not None and repo.revision == known.sha
    assert (repo.model, repo.form, repo.index.pipeline_class) == (FLUX, "hub", "FluxPipeline")
    assert repo.config("transformer")["num_layers"] == 19
    assert repo.config("scheduler")["_class_name"] == "FlowMatchEulerDiscreteScheduler"
    assert repo.config("tokenizer_2") == {}
    assert "transformer/config.json" in repo.files()


def test_revision_is_resolved_once(hub: HubServer, source: SourceTree) -> None:
    repo = open_model(FLUX, source=source)
    read_all(repo)
    assert [path for _, path, _ in hub.requests if path.startswith("/api/")] == [API + "main"]
    others = [path for _, path, _ in hub.requests if not path.startswith("/api/")]
    assert others and all(path.startswith(f"/{FLUX}/resolve/{repo.revision}/") for path in others)


def test_commit_changes_between_requests(hub: HubServer, source: SourceTree) -> None:
    """What ``main`` becomes later does not reach us: the old commit's files are gone, and we say so."""
    repo = open_model(FLUX, source=source)
    other = hub.repo(SANA)
    assert other is not None
    hub.repos[FLUX] = other
    with pytest.raises(OmniportError, match="no revision"):
        repo.config("transformer")


def test_sharded_headers_by_range(hub: HubServer, source: SourceTree) -> None:
    weights = open_model(FLUX, source=source).weights("transformer")
    assert weights is not None and len(weights) == 1160
    assert weights["x_embedder.weight"] == TensorInfo("BF16", (3072, 64))
    asked = [(path, span) for method, path, span in hub.requests if path.endswith(".safetensors") and method == "GET"]
    assert len(asked) == 3 and all(span == f"bytes=0-{(512 << 10) - 1}" for _, span in asked)
    assert not any(path.endswith(".safetensors") and span is None for _, path, span in hub.requests)


def test_single_file_header_and_no_weights(hub: HubServer, source: SourceTree) -> None:
    repo = open_model(SANA, source=source)
    weights = repo.weights("transformer")
    assert weights is not None and len(weights) == 396
    assert repo.weights("vae") is None
    assert repo.config("scheduler")["lambda_min_clipped"] == float("-inf")


def test_long_header_needs_a_second_range(hub: HubServer, source: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omniport.hub.client._PREFETCH", 16)
    weights = open_model(SANA, source=source).weights("transformer")
    assert weights is not None and len(weights) == 396
    assert len([path for _, path, _ in hub.requests if path.endswith(".safetensors")]) == 2


def test_cache_answers_when_the_server_is_gone(
    caches: Path, source: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        online = open_model(FLUX, source=source)
        read_all(online)

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    offline = open_model(FLUX, offline=True, source=source)
    assert (offline.revision, offline.index) == (online.revision, online.index)
    assert offline.files() == online.files()
    assert offline.weights("transformer") == online.weights("transformer")
    assert offline.config("vae") == online.config("vae")
    by_commit = open_model(FLUX, revision=online.revision, source=source)  # a cached commit needs no server either
    assert by_commit.index == online.index
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_model(FLUX, source=source).revision == online.revision


def test_offline_without_cache(caches: Path, source: SourceTree) -> None:
    with pytest.raises(OmniportError, match="'main' is not in the cache; run once without --offline"):
        open_model(FLUX, offline=True, source=source)


def test_offline_file_and_header_not_cached(hub: HubServer, source: SourceTree) -> None:
    open_model(FLUX, source=source)
    offline = open_model(FLUX, offline=True, source=source)
    with pytest.raises(OmniportError, match="transformer/config.json: not in the cache"):
        offline.config("transformer")
    open_model(SANA, source=source)
    with pytest.raises(OmniportError, match="its header is not in the cache"):
        open_model(SANA, offline=True, source=source).weights("transformer")


def test_cache_of_another_tool(hub: HubServer, source: SourceTree) -> None:
    """A snapshot that huggingface_hub downloaded by branch opens offline, by the Hub cache's own refs."""
    import os

    from huggingface_hub import hf_hub_download

    cache = Path(os.environ["HF_HOME"]) / "hub"
    for path in ("model_index.json", "transformer/config.json"):
        hf_hub_download(FLUX, path, cache_dir=cache, endpoint=hub.endpoint)
    repo = open_model(FLUX, offline=True, source=source)
    assert repo.files() == ["model_index.json", "transformer/config.json"]
    assert repo.config("transformer")["num_single_layers"] == 38


def test_damaged_cache_is_asked_for_again(hub: HubServer, source: SourceTree, caches: Path) -> None:
    weights = open_model(SANA, source=source).weights("transformer")
    for path in (caches / "omniport").rglob("*.json"):
        path.write_text('{"schema": 1, "tensors": {"a": 1}, "files": 3}' if "header" in path.name else "{")
    assert open_model(SANA, source=source).weights("transformer") == weights


def test_cached_model_opens_fast_and_without_huggingface_hub(hub: HubServer, source: SourceTree) -> None:
    read_all(open_model(FLUX, source=source))
    code = (
        "import sys, time; from omniport.hub import open_model; from omniport.source.tree import SourceTree\n"
        "tree = SourceTree.locate(); start = time.process_time()\n"
        f"repo = open_model({FLUX!r}, offline=True, source=tree)\n"
        "[repo.config(name) for name in repo.index.components]; repo.weights('transformer')\n"
        "took = time.process_time() - start\n"
        "assert not {'huggingface_hub', 'httpx', 'torch', 'diffusers'} & set(sys.modules), sorted(sys.modules)\n"
        "print(took)"
    )
    reply = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert reply.returncode == 0, reply.stderr
    assert float(reply.stdout) < 0.1


@pytest.mark.parametrize("model", ["org/missing", "black-forest-labs/FLUX.1-devv"])
def test_missing_repository(hub: HubServer, source: SourceTree, model: str) -> None:
    with pytest.raises(OmniportError, match=f"{model}: no such repository at http://127.0.0.1:.*check the spelling"):
        open_model(model, source=source)


def test_hidden_repository(hub: HubServer, source: SourceTree) -> None:
    hub.hidden.add(FLUX)
    with pytest.raises(OmniportError, match="no such repository .*log in"):
        open_model(FLUX, source=source)


def test_missing_revision(hub: HubServer, source: SourceTree) -> None:
    with pytest.raises(OmniportError, match=f"{FLUX}: no revision 'nowhere'"):
        open_model(FLUX, revision="nowhere", source=source)


def test_missing_file(hub: HubServer, source: SourceTree) -> None:
    from omniport.hub import client

    known = hub.repo(FLUX)
    assert known is not None
    with pytest.raises(OmniportError, match="absent.json: no such file at revision"):
        client.download(FLUX, known.sha, "absent.json")
    with pytest.raises(OmniportError, match="absent.safetensors: no such file at revision"):
        client.fetch_header(FLUX, known.sha, "absent.safetensors", None)


def test_gated(hub: HubServer, source: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "hf_" + "x" * 34
    monkeypatch.setenv("HF_TOKEN", token)
    hub.gated.add(FLUX)
    with pytest.raises(OmniportError, match="gated; accept its licence at .*/FLUX.1-dev, then log in") as caught:
        open_model(FLUX, source=source)
    assert token not in str(caught.value) and token not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    ("status", "message"), [(403, "refuses access"), (429, "slow down"), (503, "the server answers 503")]
)
def test_status(hub: HubServer, source: SourceTree, status: int, message: str) -> None:
    hub.status = status
    with pytest.raises(OmniportError, match=message):
        open_model(FLUX, source=source)


def test_dropped_at_the_listing(hub: HubServer, source: SourceTree) -> None:
    hub.dropped.add("/api/")
    with pytest.raises(OmniportError, match="the connection to http://127.0.0.1:.* broke off"):
        open_model(FLUX, source=source)


def test_dropped_in_a_file(hub: HubServer, source: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)  # it retries five times
    hub.dropped.add("model_index.json")
    with pytest.raises(OmniportError, match="model_index.json: the connection .* broke off"):
        open_model(FLUX, source=source)


def test_dropped_in_a_header(hub: HubServer, source: SourceTree) -> None:
    hub.dropped.add(".safetensors")
    repo = open_model(SANA, source=source)
    with pytest.raises(OmniportError, match="the connection .* broke off"):
        repo.weights("transformer")
    hub.dropped.clear()
    assert repo.weights("transformer")


def test_no_answer(hub: HubServer, source: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")
    hub.stalled.add("/api/")
    start = time.monotonic()
    with pytest.raises(OmniportError, match="no answer from .* within 0.2 s"):
        open_model(FLUX, source=source)
    assert time.monotonic() - start < 3


def test_no_server(caches: Path, source: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        address = server.endpoint
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(OmniportError, match=f"cannot reach {address}; check the network"):
        open_model(FLUX, source=source)


def test_server_without_ranges_is_not_downloaded(hub: HubServer, source: SourceTree) -> None:
    hub.no_ranges = True
    with pytest.raises(OmniportError, match="ignores range requests"):
        open_model(SANA, source=source).weights("transformer")


def test_oversized_file_is_refused_before_the_download(hub: HubServer, source: SourceTree) -> None:
    from tests.support.hubserver import Blob, FakeRepo

    hub.repos["org/big"] = FakeRepo({"model_index.json": Blob(b"{", 10 << 30)})
    with pytest.raises(OmniportError, match="model_index.json: 10737418240 bytes; more than"):
        open_model("org/big", source=source)
    assert [path for _, path, _ in hub.requests] == ["/api/models/org/big/revision/main"]


def test_hostile_listing(hub: HubServer, source: SourceTree) -> None:
    from tests.support.hubserver import Blob, FakeRepo

    index = b'{"_class_name": "FluxPipeline"}'
    hub.repos["org/bad"] = FakeRepo({"model_index.json": Blob(index, len(index)), "../../x": Blob(b"", 0)})
    assert open_model("org/bad", source=source).files() == ["model_index.json"]
