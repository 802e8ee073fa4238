"""What a message quotes from outside cannot steer the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from omniport.errors import OmniportError, printable

EVIL = "\x1b]0;owned\x07\x1b[2J\u202egnp\x9b31m\ud800"


def test_printable_keeps_text_and_lines() -> None:
    assert printable("naïve\ttext\nüber 模型") == "naïve\ttext\nüber 模型"
    assert printable(EVIL) == "\\x1b]0;owned\\x07\\x1b[2J\\u202egnp\\x9b31m\\ud800"
    assert str(OmniportError(EVIL)).isascii()


def quiet(text: str) -> bool:
    return not any(c in text for c in "\x1b\x07\x9b\u202e") and "Traceback" not in text


@pytest.mark.parametrize("command", ["scaffold", "plan", "check", "verify", "matrix", "explain"])
def test_an_argument_is_quoted_safely(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, EVIL.replace("\ud800", "")])
    assert done.exit_code == 2 and quiet(done.output)


def test_an_index_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = EVIL.replace("\ud800", "")
    index = {"_class_name": "FluxPipeline", "_diffusers_version": evil, "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    done = CliRunner().invoke(app, ["plan", str(tmp_path)])
    assert done.exit_code == 2 and quiet(done.output) and "_diffusers_version" in done.output


def test_the_source_of_a_port_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "pipeline_x.py").write_text(f"import torch\ntorch.manual_seed(0)  # {EVIL[:-1]}\n", "utf-8")
    for form in ("text", "github", "json", "sarif"):
        done = CliRunner().invoke(app, ["check", str(tmp_path), "--output-format", form, "--no-cache"])
        assert done.exit_code == 1 and quiet(done.output), form
