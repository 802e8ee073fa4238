"""What makes a tiny checkpoint out of a published config: sizes per config key, as data.

A component class that is not listed here is refused, not guessed; add a :class:`Recipe` for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADS = 4  # divisible by 2 and 4, so that tensor parallel and Ulysses divide it
HEAD_DIM = 16  # the smallest that leaves three rope axes of different even sizes


@dataclass(frozen=True)
class Recipe:
    """How one component class is made tiny.

    ``published`` fills keys that the given config lacks (the class alone was named, so nothing was published): the
    sizes that models built of this class publish, because the class's own defaults do not fit together.
    ``sizes`` replaces the values of keys, with ``lengths`` for lists that keep their length but get one value.
    ``widths`` are the keys whose values other components take as the width of this one's output.
    ``tokenizer`` maps keys to what they take from the component's tokenizer.
    """

    sizes: Mapping[str, Any] = field(default_factory=dict)
    lengths: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    widths: tuple[str, ...] = ()
    tokenizer: Mapping[str, str] = field(default_factory=dict)


# Sizes are chosen so that no two axes of a tensor have the same length: 2 samples, 20 text tokens, 24 image tokens,
# 28 (CLIP), 64 (transformer), 72 (T5: not less than two CLIPs side by side, which pipelines pad to its width).
ENCODERS: dict[str, Recipe] = {
    "CLIPTextModel": Recipe(
        sizes={
            "hidden_size": 28,
            "intermediate_size": 44,
            "num_attention_heads": HEADS,
            "num_hidden_layers": 2,
            "projection_dim": 28,
        },
        published={"hidden_size": 768, "projection_dim": 768},
        widths=("hidden_size",),
        tokenizer={"vocab_size": "size", "bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "eos"},
    ),
    "CLIPTextModelWithProjection": Recipe(
        sizes={
            "hidden_size": 28,
            "intermediate_size": 44,
            "num_attention_heads": HEADS,
            "num_hidden_layers": 3,  # pipelines take the hidden states before the last layer
            "projection_dim": 28,  # published models have it equal to hidden_size, so a width tells no difference
        },
        published={"hidden_size": 768, "projection_dim": 768},
        widths=("hidden_size", "projection_dim"),
        tokenizer={"vocab_size": "size", "bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "eos"},
    ),
    "T5EncoderModel": Recipe(
        sizes={"d_model": 72, "d_kv": 8, "d_ff": 56, "num_layers": 2, "num_heads": HEADS, "num_decoder_layers": 2},
        published={"d_model": 4096, "feed_forward_proj": "gated-gelu"},
        widths=("d_model",),
        tokenizer={"vocab_size": "size"},
    ),
}

VAES: dict[str, Recipe] = {
    "AutoencoderKL": Recipe(
        sizes={"layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4},
        lengths={"block_out_channels": 8},
        published={
            "latent_channels": 16,
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
        widths=("latent_channels",),
    ),
}

TRANSFORMER_SIZES: dict[str, int] = {
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "attention_head_dim": HEAD_DIM,
    # Two of each kind of block at least: a mistake in the second block's prefix or in what a block hands on shows only
    # then.  Lists of different lengths, so that a mixed-up count shows.
    "num_layers": 2,
    "num_single_layers": 3,
    "num_refiner_layers": 2,
}

ROPE_AXES = ("axes_dims_rope", "axes_dim", "axes_dims", "rope_axes_dim")
"""Keys that split the head into rope axes: their values add up to the head's size."""

LATENT_WIDTH = ("in_channels", "out_channels")
"""Keys that are a multiple of the VAE's latent channels (patchified latents: 4 times)."""

TEXT_WIDTH = (
    "joint_attention_dim",
    "cross_attention_dim",
    "pooled_projection_dim",
    "caption_channels",
    "text_embed_dim",
    "text_dim",
    "cap_feat_dim",
)
"""Keys that are the width of a text encoder's output, or the sum of several encoders' widths."""

TEXT_OR_INNER = ("cross_attention_dim", "cross_attention_input_dim")
"""Keys that are heads times head size where the transformer projects its text before."""

INNER_WIDTH = ("caption_projection_dim",)
"""Keys that are heads times head size."""
