"""What is read of packages is kept by a process that says so, and by no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omniport.target import kept as room
from omniport.target.kept import keep, kept
from omniport.target.resolve import resolve_imports


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(room, "_KEPT", [])
    yield


def test_nothing_is_kept_unasked() -> None:
    assert kept("a", list) is not kept("a", list)


def test_what_is_kept_is_made_once_for_each_key() -> None:
    keep()
    first = kept("a", list)
    keep()
    assert kept("a", list) is first is not kept("b", list)


def missing(package: Path, text: str = "from tree.a import x\n") -> list[str]:
    return [m.name for m in resolve_imports({"port/m.py": text}, package).missing]


def test_a_package_that_changes_is_read_anew(tmp_path: Path) -> None:
    package = tmp_path / "tree"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("y = 1\n")
    assert missing(package) == ["tree.a.x"]
    (package / "a.py").write_text("x = 1\n")
    assert missing(package) == []


def test_a_process_that_keeps_it_reads_it_once(tmp_path: Path) -> None:
    package = tmp_path / "tree"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("x = 1\n")
    keep()
    assert missing(package) == []
    (package / "a.py").unlink()
    assert missing(package) == []
    assert missing(package, "from tree.a import y\n") == ["tree.a.y"]


def test_modules_of_the_port_are_not_kept(tmp_path: Path) -> None:
    package = tmp_path / "tree"
    package.mkdir()
    (package / "__init__.py").touch()
    keep()
    text = {"tree/models/m.py": "from tree.models.n import x\n"}
    assert [m.name for m in resolve_imports(text, package).missing] == ["tree.models.n.x"]
    assert resolve_imports(text | {"tree/models/n.py": "x = 1\n"}, package).missing == ()
