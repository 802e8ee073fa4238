"""A model of diffusers in a custom denoiser: rewritten as a published one, equal to it, called as its owner does."""

from __future__ import annotations

import ast
import functools
import shutil
from pathlib import Path

import pytest

from omniport.corpus.custom import TOLERANCE, Sample, compare
from omniport.custom import read_repository
from omniport.custom.code import read_code
from omniport.custom.into import scaffold_custom
from omniport.custom.library import SliceTree
from omniport.custom.transformer import CustomTransformer, port_transformer
from tests.support.ports import installed_package

SOURCE = """
import torch
from diffusers import FluxTransformer2DModel
from torch import nn


class Sonata(nn.Module):
    def __init__(self, settings, width=8):
        super().__init__()
        self.fc = nn.Linear(width, 24)
        self.transformer = FluxTransformer2DModel(
            in_channels=width,
            num_layers=settings.get("depth", 2),
            num_single_layers=settings["single_depth"],
            attention_head_dim=settings.get("head_dim", 128),
            num_attention_heads=settings.get("heads", 2),
            joint_attention_dim=24,
            pooled_projection_dim=24,
        )

    def forward(self, x, text, timestep):
        pooled = self.fc(text.mean(1))
        ids = torch.zeros(x.shape[0], x.shape[1], 3)
        return self.transformer(
            hidden_states=x,
            encoder_hidden_states=self.fc(text),
            pooled_projections=pooled,
            timestep=timestep,
            img_ids=ids + torch.arange(x.shape[1])[None, :, None],
            txt_ids=torch.zeros(x.shape[0], text.shape[1], 3),
            guidance=None,
            return_dict=False,
        )[0]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "sonata"
    root.mkdir()
    (root / "model.py").write_text(SOURCE, "utf-8")
    return root


def ported(root: Path) -> CustomTransformer:
    backbone = read_repository(root, "model.py:Sonata").backbone
    assert backbone is not None
    return port_transformer(read_code(root), backbone, ())


def test_its_closure_is_brought_along(repository: Path) -> None:
    made = ported(repository)
    assert made.native and not made.todos
    assert [plan.class_name for plan in made.plan.attentions] == ["FluxAttention", "FluxSingleAttention"]
    classes = {n.name for n in ast.parse(made.code).body if isinstance(n, ast.ClassDef)}
    assert {"FluxTransformer2DModel", "FluxTransformerBlock", "Sonata"} <= classes
    assert "import FluxTransformer2DModel" not in made.code
    assert made.plan.parameters == ("single_depth", "depth", "head_dim", "heads", "width")


def test_a_deprecated_way_to_call_it_is_kept(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "txt_ids = txt_ids[0]" in ported(repository).code
    tree = functools.partial(SliceTree, old_calls=False)  # as the pipelines of diffusers call it
    monkeypatch.setattr("omniport.custom.transformer.SliceTree", tree)
    assert "txt_ids = txt_ids[0]" not in ported(repository).code


def test_what_only_warns_is_left_out(repository: Path) -> None:
    source = SOURCE.replace(
        "        pooled =", '        if x.ndim == 9:\n            logger.warning("deprecated")\n        pooled ='
    ).replace("import torch\n", "import logging\nimport torch\n", 1)
    source = source.replace("class Sonata", "logger = logging.getLogger(__name__)\n\n\nclass Sonata")
    (repository / "model.py").write_text(source, "utf-8")
    assert "ndim == 9" not in ported(repository).code
    (repository / "model.py").write_text(source.replace('deprecated")', 'deprecated")\n            x = x[0]'), "utf-8")
    assert "ndim == 9" in ported(repository).code


@pytest.mark.verify
def test_it_computes_the_same(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(installed_package(), tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    scaffold_custom("org/toy", repository, into=tree, name="toy", backbone="model.py:Sonata")
    sample = Sample(
        "sonata",
        "sonata",
        "model.py:Sonata",
        {},
        "dict(settings=dict(single_depth=2))",
        inputs="dict(x=randn(2, 5, 8), text=randn(2, 3, 8), timestep=torch.tensor([0.3, 0.7]))",
    )
    sound = compare(sample, repository, tmp_path, tree, "toy")
    assert (sound.difference, sound.failed) == ("", "")
    assert sound.error is not None and sound.error <= TOLERANCE
    file = tree / "vllm_omni" / "diffusion" / "models" / "toy" / "toy_transformer.py"
    text = file.read_text("utf-8")
    assert text.count("self.head_dim**-0.5") == 2
    file.write_text(text.replace("self.head_dim**-0.5", "1.0"), "utf-8")
    broken = compare(sample, repository, tmp_path, tree, "toy")
    assert broken.error is not None and broken.error > TOLERANCE
