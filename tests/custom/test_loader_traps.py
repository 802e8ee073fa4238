"""Loading traps: what the real loader does, and that a rule says so before it happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omniport.check.port import Port
from omniport.check.rules import load_rules
from omniport.check.source import SourceFile
from tests.custom.traps.cases import CASES, Case

IDS = [f"{case.rule}-{case.name}" for case in CASES]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    pytest.importorskip("vllm_omni")
    folder = tmp_path_factory.mktemp("traps")
    command = [sys.executable, "-W", "ignore", "-m", "tests.custom.traps.runner", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads((folder / "results.json").read_text("utf-8"))
    return found


@pytest.mark.verify
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_the_real_loader_does(case: Case, results: dict[str, dict[str, Any]]) -> None:
    result = results[f"{case.rule}-{case.name}"]
    assert re.search(case.outcome, result["outcome"]), result["outcome"]
    for key, expected in case.facts.items():  # several: which it is depends on the order in which a folder is listed
        assert result["facts"].get(key) in (expected if isinstance(expected, tuple) else (expected,)), key


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_rule_reports_the_trap_and_not_its_twin(case: Case) -> None:
    port = Port("example", (SourceFile(Path("example.py"), case.text),))
    assert bool(list(load_rules()[case.rule].check(port))) == case.found


def test_every_trap_has_a_sound_twin() -> None:
    for rule in {case.rule for case in CASES} - {"OP158"}:  # its twin is that of OP164
        assert {case.found for case in CASES if case.rule == rule} == {True, False}, rule
