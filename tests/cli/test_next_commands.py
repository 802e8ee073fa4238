"""What a command says where it cannot go on: the value, the reason, and what to type in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from omniport.errors import OmniportError
from omniport.recorded import recorded_port
from omniport.verify.port import find_port
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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SD3Pipeline", "StableDiffusion3Pipeline"),
        ("FluxPipelin", "FluxPipeline"),
        ("WanVideoPipeline", "WanVideoToVideoPipeline"),
    ],
)
def test_a_class_is_known_by_its_initials_and_by_its_spelling(name: str, meant: str) -> None:
    message = refused("plan", f"diffusers:{name}")
    assert meant in message.partition("did you mean ")[2].rstrip("?").split(", ")


def test_a_model_is_answered_with_the_pipeline_that_runs_it() -> None:
    message = refused("plan", "diffusers:FluxTransformer2DModel")
    assert message.endswith("name a pipeline of it, such as diffusers:FluxPipeline")
    assert refused("plan", "diffusers:UNet2DConditionModel").endswith("; name a pipeline of it")
    assert "runs no transformer" in refused("plan", "diffusers:StableDiffusionXLPipeline")


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("https://huggingface.co/black-forest-labs/FLUX.1-dev/tree/main", "black-forest-labs/FLUX.1-dev"),
        ("hf.co/org/name?x=1", "org/name"),
        ("FluxPipeline", "diffusers:FluxPipeline"),
        ("diffuser:FluxPipeline", "diffusers:FluxPipeline"),
    ],
)
def test_a_near_miss_of_a_model_is_answered_with_what_is_meant(model: str, meant: str) -> None:
    assert refused("plan", model).endswith(f"did you mean {meant}?")


def test_a_folder_inside_of_a_tree_names_the_tree(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    inside = tree / "vllm_omni" / "diffusion" / "models"
    assert refused("scaffold", "diffusers:FluxPipeline", "--into", str(inside)).endswith(f"{tree}; give that tree")


def test_a_class_of_diffusers_wants_sources_of_diffusers(tmp_path: Path) -> None:
    message = refused("scaffold", "diffusers:FluxPipeline", "--source", str(tmp_path), "--plugin", str(tmp_path / "p"))
    assert message.startswith(f"{tmp_path}: no package diffusers here")


def test_codes_that_are_none_are_not_answered_with_all_of_them(tmp_path: Path) -> None:
    message = refused("check", str(tmp_path), "--select", "XX")
    assert message.startswith("'XX' is no rule") and message.endswith("`omniport explain` lists them")


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


def test_a_second_port_of_a_class_takes_the_row_only_by_force(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    scaffold = ["scaffold", "diffusers:PixArtSigmaPipeline", "--into", str(tree)]
    assert CliRunner().invoke(app, scaffold).exit_code == 0
    message = refused(*scaffold, "--name", "other")
    assert "served by the port pix_art_sigma of this tree" in message and "--force" in message
    assert CliRunner().invoke(app, [*scaffold, "--name", "other", "--force"]).exit_code == 0
    removed = CliRunner().invoke(app, ["remove", str(tree), "--name", "other"])
    assert removed.exit_code == 0 and "has no row for PixArtSigmaPipeline now" in removed.stdout


def test_the_folder_of_a_port_stands_for_the_port(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    for name in ("PixArtSigmaPipeline", "PixArtAlphaPipeline"):
        assert CliRunner().invoke(app, ["scaffold", f"diffusers:{name}", "--into", str(tree)]).exit_code == 0
    models = tree / "vllm_omni" / "diffusion" / "models"
    assert find_port(models / "pix_art_sigma").name == "pix_art_sigma"
    assert recorded_port(models / "pix_art_alpha", None)[1].name == "pix_art_alpha"
    assert recorded_port(models / "pix_art_alpha", None)[0] == tree
    with pytest.raises(OmniportError, match="holds no port"):  # a folder of the tree that no port of ours lies in
        find_port(models / "flux")
    with pytest.raises(OmniportError, match="holds no port named"):  # another name than the folder's
        find_port(models / "pix_art_alpha", "pix_art_sigma")


@pytest.mark.parametrize("command", ["verify", "update", "remove"])
def test_a_port_that_is_not_there(command: str, nowhere: str, tmp_path: Path) -> None:
    assert refused(command, nowhere) == f"{nowhere}: no such folder"
    message = refused(command, str(tmp_path))
    assert message.startswith(f"{tmp_path} holds no port") and "omniport scaffold MODEL --into" in message
