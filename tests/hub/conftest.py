"""A Hub on loopback with fresh, empty caches, and the installed diffusers as source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omniport.source.tree import SourceTree
from tests.support.hubserver import HubServer, serve


@pytest.fixture(scope="session")
def source() -> SourceTree:
    return SourceTree.locate()


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("OMNIPORT_CACHE", str(tmp_path / "omniport"))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "5")
    return tmp_path


@pytest.fixture
def hub(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
