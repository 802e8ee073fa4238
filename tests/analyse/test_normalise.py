"""From a reference transformer to plain PyTorch."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.analyse.normalise import Normalised, normalise
from omniport.emit.format import format_files
from omniport.errors import UnsupportedError
from omniport.source.tree import SourceTree


@pytest.fixture(scope="module")
def mini(reference: SourceTree) -> Normalised:
    name = "MiniTransformer2DModel"
    return normalise(reference, reference.find_class(name), name)


@pytest.fixture(scope="module")
def flux(diffusers: SourceTree) -> Normalised:
    name = "FluxTransformer2DModel"
    return normalise(diffusers, diffusers.find_class(name, "models"), name)


def classes(normalised: Normalised) -> dict[str, ast.ClassDef]:
    return {n.name: n for n in ast.parse(normalised.form.code).body if isinstance(n, ast.ClassDef)}


def function(node: ast.ClassDef, name: str) -> ast.FunctionDef:
    return next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == name)


def arguments(node: ast.FunctionDef) -> list[str]:
    return [a.arg for a in node.args.args if a.arg != "self"]


def test_golden(mini: Normalised, golden: Callable[[str, str], None]) -> None:
    formatted, findings = format_files({"normal.py": mini.form.code}, None)
    assert not findings
    golden("mini/normal_form.py.txt", formatted["normal.py"])


def test_variants_of_one_class_are_told_apart(mini: Normalised) -> None:
    found = classes(mini)
    joint, single = found["MiniAttention"], found["MiniSingleAttention"]
    assert arguments(function(joint, "forward")) == ["hidden_states", "context", "rotary"]
    assert arguments(function(single, "forward")) == ["hidden_states", "rotary"]
    assert "to_out" in ast.unparse(joint) and "to_out" not in ast.unparse(single)
    assert "1e-06" in ast.unparse(joint) and "1e-05" in ast.unparse(single)  # eps given, and left at its default


def test_the_root_keeps_its_interface(mini: Normalised) -> None:
    assert mini.parameters[0] == "in_channels" and len(mini.parameters) == 8
    assert mini.forward[-1] == "return_dict"
    assert {d.subject for d in mini.dropped} == {"joint_attention_kwargs", "controlnet_block_samples"}


def test_nothing_generic_is_left(mini: Normalised, flux: Normalised) -> None:
    for normalised in (mini, flux):
        words = {n.id for n in ast.walk(ast.parse(normalised.form.code)) if isinstance(n, ast.Name)}
        attributes = {n.attr for n in ast.walk(ast.parse(normalised.form.code)) if isinstance(n, ast.Attribute)}
        assert not words & {"kwargs", "args", "processor", "deprecate", "joint_attention_kwargs"}
        assert not attributes & {"processor", "set_processor", "gradient_checkpointing", "fused_projections"}
        assert not [n for n in ast.walk(ast.parse(normalised.form.code)) if isinstance(n, ast.Raise)]


def test_every_line_knows_its_source(flux: Normalised, diffusers: SourceTree) -> None:
    texts: dict[str, list[str]] = {}
    form = flux.form
    checked = 0
    for number, line in enumerate(form.code.splitlines(), 1):
        stripped = line.strip()
        if not stripped.startswith("self.to_") or "=" not in stripped:
            continue
        origin = form.origin(number)
        path = diffusers.root.parent / origin.file
        source = texts.setdefault(origin.file, path.read_text("utf-8").splitlines())
        name = stripped.split("=")[0].split(".")[1].strip()
        assert name in source[origin.line - 1]
        checked += 1
    assert checked >= 8


def test_flux_facts(flux: Normalised) -> None:
    assert set(classes(flux)) == {
        "AdaLayerNormContinuous",
        "AdaLayerNormZero",
        "AdaLayerNormZeroSingle",
        "FeedForward",
        "FluxAttention",
        "FluxSingleAttention",
        "FluxSingleTransformerBlock",
        "FluxTransformer2DModel",
        "FluxTransformerBlock",
        "GELU",
    }
    assert flux.forward == (
        "hidden_states",
        "encoder_hidden_states",
        "pooled_projections",
        "timestep",
        "img_ids",
        "txt_ids",
        "guidance",
        "return_dict",
    )
    assert len(flux.parameters) == 11
    folds = {fold.subject: fold for plan in flux.classes for fold in plan.folds}
    taken = folds["torch.is_grad_enabled() and self.gradient_checkpointing"]
    assert taken.value is False and "inference only" in taken.why.reason
    assert taken.why.file.endswith("transformer_flux.py") and taken.why.line > 0


def test_a_foreign_decorator_is_refused(tmp_path: Path, reference: SourceTree) -> None:
    foreign = "    @sharded_elsewhere\n    @register_to_config\n"
    tree = _edited(tmp_path, reference, "    @register_to_config\n", foreign)
    with pytest.raises(UnsupportedError, match=r"transformer_mini\.py:\d+: decorator @sharded_elsewhere"):
        normalise(tree, tree.find_class("MiniTransformer2DModel"), "MiniTransformer2DModel")


def test_a_foreign_base_is_refused(tmp_path: Path, reference: SourceTree) -> None:
    tree = _edited(tmp_path, reference, "class MiniBlock(nn.Module):", "class MiniBlock(SomeOtherBlock):")
    with pytest.raises(UnsupportedError, match="base class SomeOtherBlock of MiniBlock"):
        normalise(tree, tree.find_class("MiniTransformer2DModel"), "MiniTransformer2DModel")


def test_an_unexplained_name_is_refused(tmp_path: Path, reference: SourceTree) -> None:
    tree = _edited(tmp_path, reference, "rotary = self.pos_embed(ids)", "rotary = nowhere_defined(ids)")
    with pytest.raises(UnsupportedError, match="uses nowhere_defined, which no import"):
        normalise(tree, tree.find_class("MiniTransformer2DModel"), "MiniTransformer2DModel")


def test_processor_state_is_refused(tmp_path: Path, reference: SourceTree) -> None:
    tree = _edited(tmp_path, reference, "backend=self._backend", "backend=self.chosen_at_run_time")
    with pytest.raises(UnsupportedError, match=r"processor of MiniAttention reads self\.chosen_at_run_time"):
        normalise(tree, tree.find_class("MiniTransformer2DModel"), "MiniTransformer2DModel")


def _edited(tmp_path: Path, reference: SourceTree, old: str, new: str) -> SourceTree:
    shutil.copytree(reference.root, tmp_path / "diffusers")
    file = tmp_path / "diffusers" / "models" / "transformers" / "transformer_mini.py"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")
    return SourceTree.locate(tmp_path)


@pytest.mark.parametrize("name", ["LTX2VideoTransformer3DModel", "PixArtTransformer2DModel", "FluxTransformer2DModel"])
def test_the_tree_of_a_form_is_that_of_its_text(diffusers: SourceTree, name: str) -> None:
    form = normalise(diffusers, diffusers.find_class(name, "models"), name).form
    assert form.parsed is not None
    assert ast.dump(form.tree, include_attributes=True) == ast.dump(ast.parse(form.code), include_attributes=True)
