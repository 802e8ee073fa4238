"""What ``forward.py`` measures: published widths, a few blocks of each kind, inputs of a usual request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Inputs = Callable[[dict[str, Any], bool, torch.Generator], dict[str, Any]]


@dataclass(frozen=True)
class Model:
    """One transformer: where its three versions are, its config, and how its inputs are drawn.

    ``inputs(config, tiny, generator)`` gives the keyword arguments of the reference's forward, on the CPU.
    """

    name: str
    cls: str
    reference: str  # module below diffusers.models.transformers
    hand: str  # module of vLLM-Omni's own port
    generated: str
    config: dict[str, Any]
    tiny: dict[str, Any]
    what: str
    inputs: Inputs = field(repr=False)


def _draw(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(torch.bfloat16)


def _flux(config: dict[str, Any], tiny: bool, generator: torch.Generator) -> dict[str, Any]:
    side, text = (4, 6) if tiny else (64, 512)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).to(torch.bfloat16)
    return {
        "hidden_states": _draw(generator, 1, side * side, config["in_channels"]),
        "encoder_hidden_states": _draw(generator, 1, text, config["joint_attention_dim"]),
        "pooled_projections": _draw(generator, 1, config["pooled_projection_dim"]),
        "timestep": torch.tensor([0.7], dtype=torch.bfloat16),
        "guidance": torch.tensor([3.5], dtype=torch.float32),
        "img_ids": places,
        "txt_ids": torch.zeros(text, 3, dtype=torch.bfloat16),
    }


def _qwen(config: dict[str, Any], tiny: bool, generator: torch.Generator) -> dict[str, Any]:
    side, text = (4, 6) if tiny else (64, 256)
    return {
        "hidden_states": _draw(generator, 1, side * side, config["in_channels"]),
        "encoder_hidden_states": _draw(generator, 1, text, config["joint_attention_dim"]),
        "encoder_hidden_states_mask": None,
        "timestep": torch.tensor([0.7], dtype=torch.bfloat16),
        "img_shapes": [[(1, side, side)]],
        "txt_seq_lens": [text],
    }


def _sd3(config: dict[str, Any], tiny: bool, generator: torch.Generator) -> dict[str, Any]:
    side, text = (8, 6) if tiny else (128, 333)
    return {
        "hidden_states": _draw(generator, 1, config["in_channels"], side, side),
        "encoder_hidden_states": _draw(generator, 1, text, config["joint_attention_dim"]),
        "pooled_projections": _draw(generator, 1, config["pooled_projection_dim"]),
        "timestep": torch.tensor([700.0]),
    }


def _wan(config: dict[str, Any], tiny: bool, generator: torch.Generator) -> dict[str, Any]:
    frames, height, width, text = (2, 4, 8, 6) if tiny else (11, 60, 104, 512)
    return {
        "hidden_states": _draw(generator, 1, config["in_channels"], frames, height, width),
        "encoder_hidden_states": _draw(generator, 1, text, config["text_dim"]),
        "timestep": torch.tensor([700]),
    }


_HAND, _MADE = "vllm_omni.diffusion.models", "vllm_omni.diffusion.models.corpus_"

MODELS = (
    Model(
        name="FLUX.1-dev",
        cls="FluxTransformer2DModel",
        reference="transformer_flux",
        hand=f"{_HAND}.flux.flux_transformer",
        generated=f"{_MADE}flux.flux_transformer",
        config={
            "patch_size": 1,
            "in_channels": 64,
            "num_layers": 3,
            "num_single_layers": 6,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "guidance_embeds": True,
            "axes_dims_rope": (16, 56, 56),
        },
        tiny={"num_attention_heads": 2, "num_layers": 1, "num_single_layers": 1, "joint_attention_dim": 32},
        what="3 dual and 6 single blocks, 4096 image and 512 text tokens",
        inputs=_flux,
    ),
    Model(
        name="Qwen-Image",
        cls="QwenImageTransformer2DModel",
        reference="transformer_qwenimage",
        hand=f"{_HAND}.qwen_image.qwen_image_transformer",
        generated=f"{_MADE}qwenimage.qwenimage_transformer",
        config={
            "patch_size": 2,
            "in_channels": 64,
            "out_channels": 16,
            "num_layers": 6,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 3584,
            "guidance_embeds": False,
            "axes_dims_rope": (16, 56, 56),
        },
        tiny={"num_attention_heads": 2, "num_layers": 2, "joint_attention_dim": 32},
        what="6 blocks, 4096 image and 256 text tokens",
        inputs=_qwen,
    ),
    Model(
        name="SD3.5-large",
        cls="SD3Transformer2DModel",
        reference="transformer_sd3",
        hand=f"{_HAND}.sd3.sd3_transformer",
        generated=f"{_MADE}sd3.sd3_transformer",
        config={
            "sample_size": 128,
            "patch_size": 2,
            "in_channels": 16,
            "num_layers": 8,
            "attention_head_dim": 64,
            "num_attention_heads": 38,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 2432,
            "pooled_projection_dim": 2048,
            "out_channels": 16,
            "pos_embed_max_size": 192,
            "dual_attention_layers": (),
            "qk_norm": "rms_norm",
        },
        tiny={"num_attention_heads": 2, "num_layers": 2, "joint_attention_dim": 32, "caption_projection_dim": 128},
        what="8 blocks, 4096 image and 333 text tokens",
        inputs=_sd3,
    ),
    Model(
        name="Wan2.2-A14B",
        cls="WanTransformer3DModel",
        reference="transformer_wan",
        hand=f"{_HAND}.wan2_2.wan2_2_transformer",
        generated=f"{_MADE}wan.wan_transformer",
        config={
            "patch_size": (1, 2, 2),
            "num_attention_heads": 40,
            "attention_head_dim": 128,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": 13824,
            "num_layers": 3,
            "cross_attn_norm": True,
            "qk_norm": "rms_norm_across_heads",
            "eps": 1e-6,
            "rope_max_seq_len": 1024,
        },
        tiny={"num_attention_heads": 2, "num_layers": 2, "ffn_dim": 64, "text_dim": 32},
        what="3 blocks, 17160 video and 512 text tokens",
        inputs=_wan,
    ),
)
