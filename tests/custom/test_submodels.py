"""Models beside the denoiser: in files of their own, with its classes imported; what cannot be is counted."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from omniport.custom.into import scaffold_custom
from omniport.scaffold import ScaffoldResult
from tests.support.ports import copy_tree

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


def port(tmp_path: Path, source: Path, weights: Path | None = None) -> tuple[ScaffoldResult, dict[str, str]]:
    tree = copy_tree(tmp_path / "tree")
    result = scaffold_custom("org/toy", source, into=tree, name="toy", weights=weights)
    folder = tree / "vllm_omni" / "diffusion" / "models" / "toy"
    return result, {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def changed(tmp_path: Path, repository: str, file: str, old: str, new: str) -> Path:
    source = tmp_path / "source"
    shutil.copytree(FIXTURES / repository, source)
    text = (source / file).read_text("utf-8")
    assert old in text
    (source / file).write_text(text.replace(old, new), "utf-8")
    return source


def classes(text: str) -> list[str]:
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]


def test_a_fusion_that_gives_the_denoiser_arguments_by_place_keeps_its_own(tmp_path: Path) -> None:
    """The port's constructor has ``od_config`` in the first place."""
    source = changed(tmp_path, "fusion", "duet/modules/fusion.py", "StackModel(**video_config)", "StackModel(64)")
    _, files = port(tmp_path, source)
    assert "StackModel" in classes(files["fusion.py"])
    assert "toy_transformer" not in files["fusion.py"]


def test_an_autoencoder_without_weights_is_placed_and_not_built(tmp_path: Path) -> None:
    _, files = port(tmp_path, FIXTURES / "root_files")
    assert classes(files["autoencoder.py"]) == ["AutoEncoder"]
    assert "self.vae" not in files["pipeline_toy.py"]
    assert "_vae_modules: ClassVar[list[str]] = []" in files["pipeline_toy.py"]


def test_what_cannot_be_brought_is_counted(tmp_path: Path) -> None:
    source = changed(
        tmp_path, "root_files", "toy/autoencoder.py", "return self.decoder(z)", "return self.decoder(nowhere)"
    )
    result, files = port(tmp_path, source)
    assert "autoencoder.py" not in files
    (todo,) = [t for t in result.plan.todos if t.subject == "SUBMODEL"]
    assert "nowhere" in str(todo.value)


def test_a_repository_without_them_has_no_such_files(tmp_path: Path) -> None:
    result, files = port(tmp_path, FIXTURES / "external")
    assert {"fusion.py", "autoencoder.py", "weight_names.py"}.isdisjoint(files)
    assert {"FUSION", "SUBMODEL"}.isdisjoint(t.subject for t in result.plan.todos)


@pytest.mark.parametrize("name", ["fusion.py", "autoencoder.py"])
def test_the_notice_of_the_source_goes_with_the_code(name: str, tmp_path: Path) -> None:
    repository, file = (
        ("fusion", "duet/modules/fusion.py") if name == "fusion.py" else ("root_files", "toy/autoencoder.py")
    )
    source = changed(
        tmp_path, repository, file, "from torch import nn", "# Copyright 2026 The Toys.\n\nfrom torch import nn"
    )
    _, files = port(tmp_path, source)
    assert "# Copyright 2026 The Toys." in files[name]
