"""Versions that conditions ask for, and the lowest torch that ports run on."""

from __future__ import annotations

import sys

import pytest

from omniport.analyse import knowledge
from omniport.analyse.binding import torch_version


@pytest.mark.parametrize(
    "operator, version, holds",
    [
        (">=", "2.0", True),
        (">=", "2.5.0", True),
        (">", "2.5", False),
        ("<=", "2.5.0.0", True),
        ("<", "2.10", True),
        ("<", "2.5.1", True),
        (">=", "3", False),
        ("==", "2.5", False),
        (">=", "2.5.0rc1", True),
        (">=", "2.5.1.dev2+cpu", False),
    ],
)
def test_versions_are_compared_by_their_numbers(
    operator: str, version: str, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "TORCH", "2.5")
    assert torch_version(operator, version) is holds


def test_plain_releases_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.version", None)
    assert torch_version(">=", "1.9")
    with pytest.raises(ImportError):
        torch_version(">=", "1.9a1")
