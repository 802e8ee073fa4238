"""``omniport plan --source DIR`` for a model's own code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from omniport.report import custom

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


def test_the_report_names_roles_with_their_lines() -> None:
    result = CliRunner().invoke(app, ["plan", "org/toy", "--source", str(FIXTURES / "root_files")])
    assert result.exit_code == 0
    assert "backbone  Painter (toy/model.py:38)" in result.output
    assert "ema.safetensors" in result.output


def test_json_is_the_plan() -> None:
    result = CliRunner().invoke(app, ["plan", "org/toy", "--source", str(FIXTURES / "fusion"), "--json"])
    data = json.loads(result.output)
    assert data["backbone"]["name"] == "StackModel"


def test_an_open_question_is_shown_and_answered() -> None:
    arguments = ["plan", "org/toy", "--source", str(FIXTURES / "ode")]
    asked = CliRunner().invoke(app, arguments)
    assert "question: several denoisers score alike" in asked.output
    answered = CliRunner().invoke(app, [*arguments, "--backbone", "sound/model.py:Chord"])
    assert "question: what comes out is not certain" in answered.output  # known for a denoiser alone
    both = CliRunner().invoke(app, [*arguments, "--backbone", "sound/model.py:Chord", "--media", "audio"])
    assert "question:" not in both.output


def test_wrong_use_is_one_message() -> None:
    runner = CliRunner()
    source = ["--source", str(FIXTURES / "ode")]
    assert runner.invoke(app, ["plan", "diffusers:FluxPipeline", *source]).exit_code == 2
    assert runner.invoke(app, ["plan", "org/toy", *source, "--backbone", "x.py:Y"]).exit_code == 2
    assert runner.invoke(app, ["plan", "diffusers:FluxPipeline", "--backbone", "x.py:Y"]).exit_code == 2


def test_every_candidate_of_a_role_is_shown_unless_asked_for_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom, "SHOWN", 1)
    arguments = ["plan", "org/toy", "--source", str(FIXTURES / "ode")]
    best, whole = (CliRunner().invoke(app, [*arguments, *short]).output for short in (["--short"], []))
    assert "backbone, best of 3" in best and "best of" not in whole
    assert len(whole.splitlines()) > len(best.splitlines())
