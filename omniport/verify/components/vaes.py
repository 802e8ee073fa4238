"""Tiny configs of the autoencoders, by class: few channels, the compression of the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FOUR = [8, 8, 8, 8]

VAES: dict[str, Mapping[str, Any]] = {
    "AutoencoderDC": {
        "latent_channels": 4,
        "attention_head_dim": 2,
        "encoder_block_types": ["ResBlock"] * 5 + ["EfficientViTBlock"],
        "decoder_block_types": ["ResBlock"] * 5 + ["EfficientViTBlock"],
        "encoder_block_out_channels": [8] * 6,
        "decoder_block_out_channels": [8] * 6,
        "encoder_qkv_multiscales": [[]] * 5 + [[5]],
        "decoder_qkv_multiscales": [[]] * 5 + [[5]],
        "encoder_layers_per_block": [1] * 6,
        "decoder_layers_per_block": [1] * 6,
        "upsample_block_type": "interpolate",
        "downsample_block_type": "stride_conv",
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "silu",
        "scaling_factor": 0.41407,
    },
    "AutoencoderKL": {
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "block_out_channels": _FOUR,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
    "AutoencoderKLAllegro": {
        "layers_per_block": 1, "block_out_channels": _FOUR, "norm_num_groups": 4, "sample_size": 32,
    },
    "AutoencoderKLCogVideoX": {
        "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4, "block_out_channels": _FOUR,
        "sample_height": 64, "sample_width": 96,
    },
    "AutoencoderKLCosmos": {
        "latent_channels": 4, "encoder_block_out_channels": [8, 8, 8, 8], "decode_block_out_channels": [8, 8, 8, 8],
        "num_layers": 1, "attention_resolutions": [8], "resolution": 64,
    },
    "AutoencoderKLFlux2": {
        "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4, "block_out_channels": _FOUR,
    },
    "AutoencoderKLHunyuanImage": {
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [32, 32, 32, 32],
        "layers_per_block": 1, "spatial_compression_ratio": 8, "sample_size": 64, "scaling_factor": 0.75289,
    },
    "AutoencoderKLHunyuanImageRefiner": {
        "latent_channels": 4, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1,
        "spatial_compression_ratio": 8, "temporal_compression_ratio": 4,
    },
    "AutoencoderKLHunyuanVideo": {
        "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": _FOUR,
    },
    "AutoencoderKLHunyuanVideo15": {
        "latent_channels": 4, "block_out_channels": [32, 32, 32, 32, 32], "layers_per_block": 1,
        "spatial_compression_ratio": 16, "temporal_compression_ratio": 4,
    },
    "AutoencoderKLLTX2Audio": {
        "base_channels": 16, "latent_channels": 4, "ch_mult": [1, 2], "num_res_blocks": 1, "resolution": 32,
        "mel_bins": 16,
    },
    "AutoencoderKLLTX2Video": {
        "latent_channels": 8, "block_out_channels": [8, 16, 32, 64], "decoder_block_out_channels": [8, 16, 32],
        "layers_per_block": [1, 1, 1, 1, 1], "decoder_layers_per_block": [1, 1, 1, 1],
        "spatial_compression_ratio": 32, "temporal_compression_ratio": 8,
    },
    "AutoencoderKLLTXVideo": {
        "latent_channels": 8, "block_out_channels": [8, 8, 8, 8], "decoder_block_out_channels": [8, 8, 8, 8],
        "layers_per_block": [1, 1, 1, 1, 1], "decoder_layers_per_block": [1, 1, 1, 1, 1],
    },
    "AutoencoderKLMagvit": {
        "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": _FOUR,
    },
    "AutoencoderKLMochi": {
        "layers_per_block": [1, 1, 1, 1, 1],
        "encoder_block_out_channels": [32, 32, 32, 32], "decoder_block_out_channels": [32, 32, 32, 32],
    },
    "AutoencoderKLQwenImage": {"base_dim": 4, "num_res_blocks": 1},
    "AutoencoderKLWan": {"base_dim": 8, "num_res_blocks": 1},
    "AutoencoderOobleck": {
        "encoder_hidden_size": 8, "downsampling_ratios": [1, 2, 4], "channel_multiples": [1, 2, 4],
        "decoder_channels": 8, "decoder_input_channels": 8, "sampling_rate": 16,
    },
    "AutoencoderSAME": {
        "patch_size": 4, "encoder_channels": 16, "encoder_c_mults": [2], "encoder_strides": [2],
        "encoder_transformer_depths": [1], "latent_dim": 8, "dim_heads": 8, "sampling_rate": 64,
    },
    "LongCatAudioDiTVae": {
        "channels": 8, "c_mults": [1, 2, 2], "strides": [2, 2], "latent_dim": 8, "encoder_latent_dim": 16,
        "downsampling_ratio": 4, "sample_rate": 64,
    },
    "VQModel": {
        "latent_channels": 8, "block_out_channels": _FOUR, "norm_num_groups": 4, "num_vq_embeddings": 32,
        "layers_per_block": 1, "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    },
}  # fmt: skip
