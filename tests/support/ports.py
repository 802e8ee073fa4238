"""A small port of our own, and copies of the installed vLLM-Omni to write it into."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from omniport.plan.model import Decision, ModelPlan, PipelinePlan, PortPlan, TransformerPlan, Why

COPYRIGHT = "# Copyright 2025 The Toy Authors. All rights reserved.\n#\n# Licensed under the Toy License.\n"

TRANSFORMER = (
    COPYRIGHT
    + '''
import torch
from torch import nn
from vllm.model_executor.layers.linear import ColumnParallelLinear
from vllm_omni.diffusion.attention.layer import Attention
from typing import Any


class ToyTransformer(nn.Module):
    """A transformer."""

    def __init__(self, od_config: Any = None, dim: int = 8):
        super().__init__()
        self.proj = ColumnParallelLinear(dim, dim)
        self.attn = Attention(num_heads=1, head_size=dim, causal=False, softmax_scale=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)[0]
'''
)

PIPELINE = (
    COPYRIGHT
    + """
from torch import nn
from diffusers.image_processor import VaeImageProcessor
from transformers import CLIPTextModel
from .NAME_transformer import ToyTransformer


def get_toy_post_process_func(od_config):
    processor = VaeImageProcessor()
    return processor.postprocess


class ToyPipeline(nn.Module):
    def __init__(self, *, od_config, prefix: str = ""):
        super().__init__()
        self.transformer = ToyTransformer(od_config=od_config)
        self.text_encoder = CLIPTextModel
"""
)


def port_plan(name: str = "toy", *, architecture: str = "ToyPipeline", model: str = "toy/toy-dev") -> PortPlan:
    """The plan of the small port; only what emitting reads is filled in."""
    why = Why("it is so", "toy/pipeline.py", 1)
    transformer = TransformerPlan("ToyTransformer", "diffusers.models.transformers.transformer_toy", *((),) * 11)
    pipeline = PipelinePlan(
        "ToyPipeline",
        "diffusers.pipelines.toy.pipeline_toy",
        "image",
        (),
        (),
        "none",
        (),
        "get_toy_post_process_func",
        None,
        (),
    )
    return PortPlan(
        name=name,
        model=ModelPlan(model, "hub", "0" * 40, architecture, "path A", "diffusers 0.40.0", (), (why,), "port it"),
        transformer=transformer,
        pipeline=pipeline,
        todos=(Decision("nothing", "to do", why),),
    )


def codes(name: str = "toy") -> tuple[str, str]:
    """Texts of the transformer and of the pipeline."""
    return TRANSFORMER, PIPELINE.replace("NAME", name)


def installed_package() -> Path:
    """The installed ``vllm_omni``; skips the test where there is none."""
    spec = importlib.util.find_spec("vllm_omni")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vllm_omni is not installed")
    return Path(spec.submodule_search_locations[0])


def copy_tree(root: Path) -> Path:
    """A tree at ``root`` with what a port needs of the installed package, and of its models only FLUX."""
    package = installed_package()
    models = package / "diffusion" / "models"
    kept = {"diffusion", "inputs", "quantization", "model_extras", "platforms"}

    def ignore(folder: str, names: list[str]) -> set[str]:
        here = Path(folder)
        drop = {n for n in names if n == "__pycache__"}
        if here == package:
            drop |= {n for n in names if (here / n).is_dir() and n not in kept}
        if here == models:
            drop |= {n for n in names if (here / n).is_dir() and n != "flux"}
        return drop

    shutil.copytree(package, root / "vllm_omni", ignore=ignore)
    return root


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of every file, and every folder, below ``root``."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        found[name] = (path.read_bytes() if path.is_file() else b"<folder>", path.stat().st_mode)
    return found
