"""No test of this folder asks a server for the model that it names."""

from __future__ import annotations

import huggingface_hub.constants  # noqa: F401  # reads the environment when it is imported: before it is changed
import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
