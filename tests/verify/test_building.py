"""Parameters, tokenizers and inputs: drawn so that mistakes show, and the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniport.errors import OmniportError, UnsupportedError
from omniport.verify.api import ENVIRONMENT
from omniport.verify.port import Port

pytestmark = pytest.mark.verify
torch = pytest.importorskip("torch")
nn = torch.nn


def small() -> Any:
    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(32, 64)
            self.norm = nn.LayerNorm(64)
            self.table = nn.Parameter(torch.zeros(6, 64))
            self.words = nn.Embedding(10, 64)

    return nn.ModuleList([Block(), Block()])


def test_redraw_leaves_nothing_at_its_default() -> None:
    from omniport.verify.checkpoint import redraw

    model = small()
    redraw(model, "transformer")
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all()
        assert parameter.abs().min() > 0 and parameter.std() > 0, name
    assert float(model[0].proj.weight.detach().std()) == pytest.approx(1.5 / 32**0.5, rel=0.1)
    assert model[0].norm.weight.min() >= 0.8 and model[0].norm.weight.max() <= 1.2
    for table in (model[0].proj.bias, model[0].norm.bias, model[0].table, model[0].words.weight):
        assert table.abs().max() <= 0.1


def test_redraw_is_the_same_each_time_and_differs_between_parameters() -> None:
    from omniport.verify.checkpoint import redraw

    first, second, other = small(), small(), small()
    redraw(first, "transformer")
    redraw(second, "transformer")
    redraw(other, "vae")
    assert torch.equal(first[0].proj.weight, second[0].proj.weight)
    assert not torch.equal(first[0].proj.weight, first[1].proj.weight)
    assert not torch.equal(first[0].proj.weight, other[0].proj.weight)


def test_tokenizers_are_the_same_in_every_process() -> None:
    code = (
        "from omniport.verify.tokenizers import BUILDERS, PROMPTS, build_tokenizer\n"
        "for n in sorted(BUILDERS): print(n, build_tokenizer(n, {})(list(PROMPTS)).input_ids)"
    )
    outputs = {
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1 and "CLIPTokenizer" in next(iter(outputs))


def test_clip_ends_a_prompt_with_its_highest_id() -> None:
    from omniport.verify.tokenizers import NEGATIVE, PROMPTS, build_tokenizer

    tokenizer = build_tokenizer("CLIPTokenizer", {"model_max_length": 77})
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    rows = [tokenizer(text).input_ids for text in (*PROMPTS, NEGATIVE)]
    assert all(row[-1] == max(row) == tokenizer.eos_token_id and row.count(row[-1]) == 1 for row in rows)
    assert all(len(set(row)) > 5 for row in rows) and len({tuple(row) for row in rows}) == 3


def test_t5_knows_the_words() -> None:
    from omniport.verify.tokenizers import PROMPTS, build_tokenizer

    tokenizer = build_tokenizer("T5TokenizerFast", {})
    ids = tokenizer(PROMPTS[0]).input_ids
    assert ids[-1] == tokenizer.eos_token_id == 1 and tokenizer.pad_token_id == 0
    assert tokenizer.unk_token_id not in ids


def test_an_unknown_tokenizer_is_refused() -> None:
    from omniport.verify.tokenizers import build_tokenizer

    with pytest.raises(
        OmniportError, match="no tiny GemmaTokenizer can be built; there are builders for CLIPTokenizer"
    ):
        build_tokenizer("GemmaTokenizer", {})


@pytest.mark.parametrize(
    ("library", "name", "message"),
    [
        ("my_pipeline", "Encoder", "custom code, which is never imported"),
        ("diffusers", "NoSuchVae", "no class NoSuchVae"),
    ],
)
def test_foreign_and_unknown_classes_are_refused(library: str, name: str, message: str) -> None:
    from omniport.verify.checkpoint import component_class

    with pytest.raises(OmniportError, match=message):
        component_class(library, name)


def test_the_transformer_may_be_published_under_an_older_name(hand_port: Port) -> None:
    """PixArt-Sigma names Transformer2DModel, for which diffusers takes PixArtTransformer2DModel."""
    from omniport.verify.checkpoint import transformer_component

    older = {**hand_port.model_index, "transformer": ["diffusers", "Transformer2DModel"]}
    with pytest.raises(OmniportError, match="names no component of the class"):
        transformer_component(replace(hand_port, model_index=older, denoiser=""))
    assert transformer_component(replace(hand_port, model_index=older, denoiser="transformer")) == "transformer"
    assert transformer_component(replace(hand_port, denoiser="vae")) == "transformer"  # the class itself comes first


def test_a_component_without_a_recipe_is_refused(hand_port: Port) -> None:
    from omniport.verify.checkpoint import build_components

    index = {**hand_port.model_index, "image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}
    with pytest.raises(OmniportError, match="no recipe makes a tiny CLIPVisionModelWithProjection"):
        build_components(replace(hand_port, model_index=index))


def flux_inputs() -> tuple[dict[str, Any], Any]:
    from diffusers import FluxTransformer2DModel

    from omniport.verify.inputs import Sizes, synthesise

    model = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=4,
        joint_attention_dim=72, pooled_projection_dim=28, guidance_embeds=True, axes_dims_rope=(2, 6, 8),
    )  # fmt: skip
    return synthesise(model, model.config, Sizes()), model


def test_inputs_of_flux_have_axes_of_different_lengths() -> None:
    inputs, model = flux_inputs()
    assert {name: tuple(t.shape) for name, t in inputs.items()} == {
        "hidden_states": (2, 24, 16),
        "encoder_hidden_states": (2, 20, 72),
        "pooled_projections": (2, 28),
        "timestep": (2,),
        "img_ids": (24, 3),
        "txt_ids": (20, 3),
        "guidance": (2,),
    }
    with torch.inference_mode():
        assert model(**inputs, return_dict=False)[0].shape == (2, 24, 16)


def test_no_two_tokens_samples_or_positions_are_alike() -> None:
    inputs, _ = flux_inputs()
    for name in ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance"):
        assert not torch.equal(inputs[name][0], inputs[name][1]), name
    for name in ("img_ids", "txt_ids"):
        assert len(torch.unique(inputs[name], dim=0)) == len(inputs[name]), name


def test_guidance_is_left_out_where_the_model_has_none() -> None:
    from omniport.verify.inputs import Sizes, synthesise

    _, model = flux_inputs()
    assert "guidance" not in synthesise(model, {**model.config, "guidance_embeds": False}, Sizes())


def test_a_required_parameter_without_a_rule_is_refused() -> None:
    from omniport.verify.inputs import Sizes, synthesise

    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, timestep: Any, motion_bucket: Any) -> None: ...

    with pytest.raises(UnsupportedError, match="no rule for the required parameter 'motion_bucket' of Model.forward"):
        synthesise(Model(), {}, Sizes())


def test_a_rule_without_its_config_key_is_refused() -> None:
    from omniport.verify.inputs import Sizes, synthesise

    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, encoder_hidden_states: Any) -> None: ...

    with pytest.raises(UnsupportedError, match="the config has none of .*joint_attention_dim"):
        synthesise(Model(), {}, Sizes())


def test_images_go_to_a_convolution() -> None:
    from omniport.verify.inputs import Sizes, synthesise

    class Model(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(4, 8, 2, stride=2)

        def forward(self, hidden_states: Any) -> None: ...

    assert synthesise(Model(), {"in_channels": 4}, Sizes())["hidden_states"].shape == (2, 4, 8, 12)


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.2], [1.0, 2.0], 0.2 / 5**0.5),
        ([1.0], [1.0, 2.0], float("inf")),
        ([float("nan"), 2.0], [1.0, 2.0], float("inf")),
        ([3.0, 4.0], [0.0, 0.0], 5.0),
    ],
)
def test_relative_error(got: list[float], expected: list[float], error: float) -> None:
    from omniport.verify.engine import relative_error

    assert relative_error(torch.tensor(got), torch.tensor(expected)) == pytest.approx(error, rel=1e-6)


def test_the_meter_sees_what_is_left_after_the_frameworks_hooks(tmp_path: Path) -> None:
    """vLLM-Omni's hooks replace forward; the block's own code gets the split tensor, and that is what counts."""
    code = """
import torch
from torch import nn
from omniport.verify.meter import Meter

class Block(nn.Module):
    def forward(self, hidden_states):
        return hidden_states

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
    def forward(self, hidden_states):
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return hidden_states

model = Model()
first = model.blocks[0]
first._omni_original_forward = first.forward
first.forward = lambda hidden_states: first._omni_original_forward(hidden_states[:, :6])
with Meter(model) as meter:
    model(torch.zeros(2, 12, 4))
print(meter.reading.blocks, meter.reading.block_calls, meter.reading.forwards)
model(torch.zeros(2, 12, 4))
print(meter.reading.block_calls)
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, cwd=tmp_path
    )
    assert out.stdout.splitlines()[-2:] == ["{'hidden_states': [6, 6]} 2 1", "2"], out.stderr[-2000:]


@pytest.mark.parametrize(
    ("library", "known"),
    [("stable_audio", True), ("vq_diffusion", True), ("flux.pipeline_flux", False), ("..flux", False), ("own", False)],
)
def test_only_packages_of_pipelines_are_diffusers_own(library: str, known: bool) -> None:
    from omniport.verify.components.build import _pipeline_package

    assert _pipeline_package(library) is known
