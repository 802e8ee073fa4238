"""What follows when a corpus run is over: files, goldens and the exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from omniport.corpus.ending import conclude, options_of_a_run
from omniport.corpus.results import STAGES, ClassResult, CorpusReport, StageResult
from omniport.corpus.table import corpus_table, summary, to_markdown


@dataclass
class Planned:
    name: str
    facts: dict[str, Any] = field(default_factory=lambda: {"linears": {"a": "column"}})


def report(state: Any = "ok") -> CorpusReport:
    stages = tuple(StageResult(name, state, detail="9 lines" if name == "scaffold" else "") for name in STAGES)
    return CorpusReport((ClassResult("A", "a.py", stages),), STAGES, {"torch": "1"}, "2026-01-01", 1.0)


def ended(*words: str | Path, state: str = "ok", planned: Planned | None = None) -> int:
    options = options_of_a_run("corpus", None, Path("tree")).parse_args([str(word) for word in words])
    found = [planned or Planned("A")]
    return conclude(options, report(state), found, table=corpus_table, summary=summary, markdown=to_markdown)


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("failed", 1), ("refused", 1)])
def test_a_class_that_does_not_pass_fails_the_run(state: str, code: int) -> None:
    assert ended(state=state) == code


def test_what_is_asked_for_is_written(tmp_path: Path) -> None:
    assert ended("--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md") == 0
    assert json.loads((tmp_path / "r.json").read_text())["classes"][0]["name"] == "A"
    assert (tmp_path / "r.md").read_text().startswith("<!-- Generated")


def test_a_plan_that_is_not_its_golden_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--goldens", tmp_path) == 1, "there is none yet"
    assert ended("--goldens", tmp_path, "--update-goldens") == 0
    assert ended("--goldens", tmp_path) == 0
    capsys.readouterr()
    assert ended("--goldens", tmp_path, planned=Planned("A", {"linears": {"a": "row"}})) == 1
    assert "differ from their goldens (renew with --update-goldens): A" in capsys.readouterr().out
