"""The hooks of a tree: those that its settings name, on the files that they are for; one that fails is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.corpus import hooks

SETTINGS = """
repos:
  - repo: https://github.com/pre-commit/pre-commit-hooks
    rev: v6.0.0
    hooks:
      - id: end-of-file-fixer
      - id: debug-statements
  - repo: local
    hooks:
      - id: signoff-commit
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Stand-ins: one fails for files named bad, one is only there to say what it was given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in {
        "end-of-file-fixer": 'for f in "$@"; do case "$f" in *bad*) echo "fixing $f"; exit 1;; esac; done',
        "debug-statement-hook": 'echo "$@" > given',
        "typos": "exit 1",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def test_hooks_run_on_their_files_and_those_that_are_not_asked_for_do_not(tmp_path: Path, programs: Path) -> None:
    (tmp_path / hooks.SETTINGS).write_text(SETTINGS)
    assert hooks.run(tmp_path, programs, ["a.py", "b.md"]) == ""
    assert (tmp_path / "given").read_text() == "a.py\n"


def test_a_hook_that_fails_is_told(tmp_path: Path, programs: Path) -> None:
    (tmp_path / hooks.SETTINGS).write_text(SETTINGS)
    assert hooks.run(tmp_path, programs, ["bad.md"]) == "end-of-file-fixer: fixing bad.md"


def test_a_tree_without_settings_has_no_hooks(tmp_path: Path) -> None:
    assert hooks.environment(tmp_path, tmp_path) is None
