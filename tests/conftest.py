"""Shared fixtures: the reference package of our own, goldens, and how to renew them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.source.tree import SourceTree

ROOT = Path(__file__).parent.parent

#: Files whose tests take longest, the longest first.  Where several processes share the tests, one that begins last
#: would run alone at the end.
LONGEST = (
    "tests/corpus/test_twins.py",
    "tests/corpus/test_published.py",
    "tests/verify/test_twins.py",
    "tests/conformance/test_hand_ports.py",
    "tests/custom/test_custom_tensors.py",
)

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each process
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {file: number for number, file in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


def pytest_collection_finish() -> None:
    """As the command line does: syntax trees live long, and looking through all of them again and again takes time."""
    gc.set_threshold(200_000)
    gc.collect()
    gc.freeze()


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
