"""From a transformer's own constructor defaults to a tiny config that fits together.  Pure: imports no model.

Used where no published config is at hand: the corpus run takes each class with its defaults.  With a published config
and the widths of the other components :mod:`omniport.verify.tiny` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniport.verify.recipes import HEAD_DIM, HEADS
from omniport.verify.tiny import scale_axes

HEAD_COUNTS = ("num_attention_heads", "num_heads", "n_heads", "dit_heads")
HEAD_SIZES = ("attention_head_dim", "head_dim")
GROUPS = ("num_kv_heads", "num_key_value_heads", "num_key_value_attention_heads", "n_kv_heads")
INNER = ("hidden_size", "dim", "dit_dim", "embed_dim", "model_dim")
AXES = ("axes_dims_rope", "axes_dim", "axes_dims", "rope_axes_dim", "axes_dim_rope", "rope_dim_list", "rope_dim")

SIZES: dict[str, Any] = {
    # Depths.  Two of each kind of block at least, and lists of different lengths, so that a mixed-up count shows.
    "num_layers": 2,
    "num_hidden_layers": 2,
    "depth": 2,
    "n_layers": 2,
    "dit_depth": 2,
    "num_visual_blocks": 3,
    "num_text_blocks": 2,
    "num_mmdit_layers": 2,
    "mmdit_layers": 2,
    "num_single_layers": 3,
    "num_single_dit_layers": 3,
    "num_refiner_layers": 2,
    "n_refiner_layers": 2,
    # Widths of texts and other conditions: no two alike.
    "text_embed_dim": 40,
    "joint_attention_dim": 40,
    "cross_attention_dim": 40,
    "text_dim": 40,
    "in_text_dim": 40,
    "context_in_dim": 40,
    "cap_feat_dim": 40,
    "dit_text_dim": 40,
    "cond_token_dim": 40,
    "cross_attention_input_dim": 40,
    "llm_features_dim": 40,
    "text_in_dim": 40,
    "text_hidden_dim": 40,
    "caption_channels": 44,
    "encoder_hidden_size": 40,
    "text_embed_2_dim": 36,
    "text_embed_dim_t5": 36,
    "cross_attention_dim_t5": 36,
    "text_encoder_dim": 36,
    "pooled_projection_dim": 28,
    "in_text_dim2": 28,
    "text_emb_dim": 28,
    "image_dim": 52,
    "image_embed_dim": 52,
    "image_proj_dim": 52,
    "condition_dim": 12,
    "global_cond_dim": 28,
    "global_states_input_dim": 28,
    # Widths of feed-forward layers and time embeddings.
    "ffn_dim": 88,
    "intermediate_size": 88,
    "ffn_hidden_size": 88,
    "ff_dim": 88,
    "ff_inner_dim": 88,
    "moe_intermediate_dim": 24,
    "freq_dim": 32,
    "time_embed_dim": 48,
    "time_dim": 48,
    "adaln_dim": 48,
    "adaln_lora_dim": 24,
    "time_proj_dim": 32,
    "vocab_size": 97,
    "num_cross_attention_heads": HEADS,
    "cross_attention_head_dim": HEAD_DIM,
}


def tiny_defaults(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A tiny config of a class that is only known by its constructor's defaults.

    Heads become 4 of 16 (2 for keys and values where their number differs), a width equal to heads times head size
    becomes 64, rope axes are scaled to fill the head, channels keep their ratio, everything else that is large takes
    its size from :data:`SIZES`.

    Args:
        defaults: the constructor's parameters with their defaults.
        overrides: what replaces a default and is taken as it is.
    """
    heads = _first(defaults, HEAD_COUNTS)
    head = _first(defaults, HEAD_SIZES)
    inner = heads * head if heads and head else _first(defaults, INNER)
    tiny: dict[str, Any] = {}
    for key, value in defaults.items():
        if key in overrides:
            tiny[key] = overrides[key]
        elif key in HEAD_COUNTS:
            tiny[key] = HEADS
        elif key in HEAD_SIZES:
            tiny[key] = HEAD_DIM
        elif key in GROUPS:
            tiny[key] = value if value is None else (HEADS if value == heads else HEADS // 2)
        elif key in AXES and value:
            tiny[key] = type(value)(scale_axes(list(value), HEAD_DIM))
        elif isinstance(value, int) and not isinstance(value, bool) and value == inner and value > 64:
            tiny[key] = HEADS * HEAD_DIM
        elif key in SIZES and value is not None:
            tiny[key] = SIZES[key]
        elif key in ("hidden_size",) and value is not None:
            tiny[key] = 80  # not heads times head size
        else:
            tiny[key] = value
    tiny.update(_channels({**defaults, **overrides}))
    return {**tiny, **overrides}


def _channels(config: Mapping[str, Any]) -> dict[str, Any]:
    """Channels in and out: 8 in, and the ratio of the defaults."""
    channels, out = config.get("in_channels"), config.get("out_channels")
    if not channels or channels <= 8:
        return {}
    tiny = {"in_channels": 8}
    if out:
        tiny["out_channels"] = 8 * out // channels if (8 * out) % channels == 0 else out
    return tiny


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((config[n] for n in names if config.get(n) is not None), None)
