"""Sizes of transformers whose constructor's own defaults build no model.  Data; imports nothing."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "EasyAnimateTransformer3DModel": {"in_channels": 16, "out_channels": 16, "patch_size": 2},
    "HiDreamImageTransformer2DModel": {"in_channels": 16, "patch_size": 2, "caption_channels": [4096, 4096]},
    "HunyuanDiT2DModel": {
        "in_channels": 4, "patch_size": 2, "hidden_size": 1408, "num_layers": 40, "mlp_ratio": 4.3637,
    },
    "LatteTransformer3DModel": {
        "in_channels": 4, "out_channels": 8, "patch_size": 2, "num_layers": 28, "attention_head_dim": 72,
        "activation_fn": "gelu-approximate", "norm_type": "ada_norm_single", "norm_elementwise_affine": False,
        "attention_bias": True, "caption_channels": 4096,
    },
    "LuminaNextDiT2DModel": {"num_kv_heads": 8},
    "OmniGenTransformer2DModel": {
        "rope_scaling": {"type": "su", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48},
    },
}  # fmt: skip
"""By class: what the defaults leave open (each holds a None where a size or a table is needed), as the published
checkpoints set it."""
