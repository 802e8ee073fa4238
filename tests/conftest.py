"""Shared fixtures: the reference package of our own, goldens, and how to renew them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.source.tree import SourceTree

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write the goldens instead of comparing with them")


@pytest.fixture(scope="session")
def reference() -> SourceTree:
    """The small reference package of our own."""
    return SourceTree.locate(ROOT / "fixtures" / "reference")


@pytest.fixture(scope="session")
def diffusers() -> SourceTree:
    """The installed diffusers, as text."""
    return SourceTree.locate()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(path, text)``: compare ``text`` with ``fixtures/goldens/<path>``, or renew it."""

    def check(path: str, text: str) -> None:
        file = ROOT / "fixtures" / "goldens" / path
        if request.config.getoption("--update-goldens"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        assert text == file.read_text("utf-8"), f"{file.name} differs; renew it with pytest --update-goldens"

    return check
