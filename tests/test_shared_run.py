"""Several processes share the tests: what they are told of them is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).parents[1]


def test_the_files_that_come_first_are_files_of_tests() -> None:
    assert [file for file in conftest.LONGEST if not (ROOT / file).is_file()] == []


class Item:
    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def ordered(monkeypatch: pytest.MonkeyPatch, worker: str, names: list[str]) -> list[str]:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    if not worker:
        monkeypatch.delenv("PYTEST_XDIST_WORKER")
    items = [Item(name) for name in names]
    conftest.pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    return [item.nodeid for item in items]


def test_the_longest_come_first_and_nothing_else_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = conftest.LONGEST[:2]
    names = ["tests/a.py::b[x::y]", "tests/a.py::a", f"{second}::b", f"{second}::a", "tests/c.py::a", f"{first}::z"]
    assert ordered(monkeypatch, "gw0", names) == [f"{first}::z", f"{second}::b", f"{second}::a", *names[:2], names[4]]
    assert ordered(monkeypatch, "", names) == names, "one process alone takes them as they come"
