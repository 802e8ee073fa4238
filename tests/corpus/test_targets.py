"""The matrix of releases: a cell holds only if every check ran and found nothing, and the page says which did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.corpus import targets
from omniport.corpus.targets import Cell, Release, to_markdown


def test_a_cell_without_checks_does_not_hold():
    assert not Cell("1", "XPipeline").ok
    assert Cell("1", "XPipeline", checks={"scaffold": "", "imports": ""}).ok
    assert not Cell("1", "XPipeline", checks={"scaffold": "", "imports": "a.py:1: b"}).ok


def test_the_page_counts_and_names():
    good = Cell("0.18.0", "APipeline", 3, 2, {"scaffold": ""}, ("no SP",))
    bad = Cell("0.18.0", "BPipeline", checks={"scaffold": "", "imports": "a.py:1: b"})
    page = to_markdown([good, bad], 1.0)
    assert "| 0.18.0 | 3 + 2 | failed: imports |" in page
    assert "1 of 2 hold" in page and "- no SP: A in 0.18.0." in page


def test_what_a_removal_leaves_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("1")
    before = targets._contents(tmp_path)
    monkeypatch.setattr("omniport.remove.remove", lambda *_, **__: None)
    assert targets._removed(tmp_path, [Cell("1", "XPipeline")], before) == ""
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").write_text("1")
    assert targets._removed(tmp_path, [Cell("1", "XPipeline")], before) == "a, b"


def test_a_port_that_cannot_be_made_is_a_failed_cell(tmp_path: Path):
    found = Release("0.18.0", tmp_path, None, ())
    (cell,) = targets.run(found, ["NoSuchPipeline"], tmp_path.parent / "work")
    assert not cell.ok and cell.checks["scaffold"]


def test_the_pin_of_a_release(tmp_path: Path):
    (tmp_path / "PKG-INFO").write_text("Requires-Dist: diffusers>=0.36.0\n")
    assert targets._pinned(tmp_path) == ""
    (tmp_path / "PKG-INFO").write_text("Requires-Dist: torch\nRequires-Dist: diffusers==0.38.0\n")
    assert targets._pinned(tmp_path) == "0.38.0"


def test_lint_follows_the_settings_of_the_tree(tmp_path: Path):
    (tmp_path / "a.py").write_text("import os\n")
    assert targets._lint(tmp_path, ["a.py"]) == ""
    (tmp_path / "ruff.toml").write_text("[lint]\nselect = ['F']\n")
    assert "F401" in targets._lint(tmp_path, ["a.py"])
