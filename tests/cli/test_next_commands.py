"""What a command says where it cannot go on: the value, the reason, and what to type in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from tests.support.ports import copy_tree


def refused(*arguments: str) -> str:
    """The one message of a command that exits with 2."""
    result = CliRunner().invoke(app, list(arguments))
    assert (result.exit_code, result.stdout) == (2, "") and result.stderr.startswith("error: ")
    return result.stderr.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def nowhere(tmp_path: Path) -> str:
    return str(tmp_path / "no folder")


def test_an_unknown_class_is_answered_with_those_that_begin_so() -> None:
    assert refused("plan", "diffusers:flux").endswith(
        "no pipeline class flux; did you mean FluxPipeline, Flux2Pipeline, FluxFillPipeline?"
    )
    assert refused("plan", "diffusers:Zzz").endswith("; name one such as diffusers:FluxPipeline")


def test_a_tree_that_is_none_comes_with_the_command_that_makes_one(nowhere: str, tmp_path: Path) -> None:
    clone = "git clone https://github.com/vllm-project/vllm-omni"
    message = refused("scaffold", "diffusers:FluxPipeline", "--into", nowhere)
    assert message == f"{nowhere}: no such folder; `{clone} '{nowhere}'` makes a tree there"
    assert f"`{clone}` makes one" in refused("scaffold", "diffusers:FluxPipeline", "--into", str(tmp_path))


def test_a_source_that_is_none_is_named(nowhere: str) -> None:
    assert refused("plan", "diffusers:FluxPipeline", "--source", nowhere) == f"--source {nowhere}: no such folder"


def test_a_model_with_code_of_its_own_is_led_to_plan_with_that_code(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert f"`omniport plan {tmp_path} --source DIR`" in refused("plan", str(tmp_path))


def test_a_class_that_the_tree_serves_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    message = refused("scaffold", "diffusers:FluxPipeline", "--into", str(copy_tree(tmp_path / "tree")))
    assert "FluxPipeline is already supported by this tree" in message
    assert "--force and a --name of its own" in message and "--plugin DIR in place of --into" in message


@pytest.mark.parametrize("command", ["verify", "update", "remove"])
def test_a_port_that_is_not_there(command: str, nowhere: str, tmp_path: Path) -> None:
    assert refused(command, nowhere) == f"{nowhere}: no such folder"
    message = refused(command, str(tmp_path))
    assert message.startswith(f"{tmp_path} holds no port") and "omniport scaffold MODEL --into" in message
