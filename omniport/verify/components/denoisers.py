"""What of a denoiser's or ControlNet's tiny config depends on the other components of the pipeline, by class.

The rest of the config is that of :func:`omniport.verify.defaults.tiny_defaults` and of the class's entry in
:mod:`omniport.verify.classes`.  ``z`` is the number of the VAE's latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_T = "=width('text_encoder')"
_PACKED = "=4 * z"
_PLAIN = {"in_channels": "=z", "out_channels": "=z"}
_WAN = {**_PLAIN, "text_dim": _T}
_FLUX = {
    "in_channels": _PACKED,
    "joint_attention_dim": "=width('text_encoder_2')",
    "pooled_projection_dim": "=width('text_encoder')",
    "guidance_embeds": True,
}
_SD3 = {
    **_PLAIN,
    "joint_attention_dim": "=width('text_encoder_3')",
    "pooled_projection_dim": "=pooled('text_encoder') + pooled('text_encoder_2')",
    "caption_projection_dim": 64,
    "sample_size": 16,
    "pos_embed_max_size": 40,
}
_HUNYUAN_VIDEO = {
    **_PLAIN,
    "text_embed_dim": _T,
    "pooled_projection_dim": "=width('text_encoder_2')",
    "guidance_embeds": True,
}
_COGVIDEOX = {
    **_PLAIN,
    "text_embed_dim": _T,
    "sample_height": 8,
    "sample_width": 12,
    "sample_frames": 9,
    "max_text_seq_length": 226,
}
_QWEN = {"in_channels": "=4 * z", "out_channels": "=z", "joint_attention_dim": _T}
_SANA = {**_PLAIN, "caption_channels": _T, "cross_attention_dim": 64}
_PIXART = {
    "in_channels": "=z",
    "out_channels": "=2 * z",
    "caption_channels": _T,
    "sample_size": 32,
}

DENOISERS: dict[str, Mapping[str, Any]] = {
    "AceStepTransformer1DModel": {
        "in_channels": "=3 * z", "audio_acoustic_hidden_dim": "=z",
    },
    "AllegroTransformer3DModel": {
        **_PLAIN, "caption_channels": _T, "sample_height": 8, "sample_width": 12,
        "sample_frames": 2,
    },
    "AnyFlowFARTransformer3DModel": _WAN,
    "AnyFlowTransformer3DModel": _WAN,
    "AuraFlowTransformer2DModel": {
        **_PLAIN, "joint_attention_dim": _T, "caption_projection_dim": 64, "sample_size": 16,
    },
    "BriaFiboTransformer2DModel": {"in_channels": "=z", "joint_attention_dim": "=2 * width('text_encoder')",
                                   "text_encoder_dim": _T},
    "BriaTransformer2DModel": {"in_channels": _PACKED, "joint_attention_dim": _T},
    "ChromaTransformer2DModel": {"in_channels": _PACKED, "joint_attention_dim": _T},
    "ChronoEditTransformer3DModel": {**_WAN, "in_channels": "=2 * z + 4", "image_dim": "=width('image_encoder')"},
    "CogVideoXTransformer3DModel": _COGVIDEOX,
    "CogView3PlusTransformer2DModel": {**_PLAIN, "text_embed_dim": _T, "sample_size": 16},
    "CogView4Transformer2DModel": {**_PLAIN, "text_embed_dim": _T, "sample_size": 16},
    "ConsisIDTransformer3DModel": {**_COGVIDEOX, "in_channels": "=2 * z"},
    "CosmosControlNetModel": {
        "in_channels": "=z * 8 + 2", "latent_channels": "=z + 2", "model_channels": 64, "num_attention_heads": 4,
        "attention_head_dim": 16, "text_embed_dim": _T, "n_controlnet_blocks": 2, "adaln_lora_dim": 24,
    },
    "CosmosTransformer3DModel": {
        "in_channels": "=z + 1", "out_channels": "=z", "text_embed_dim": _T, "max_size": [8, 64, 64],
    },
    "Cosmos3OmniTransformer": {"latent_channel": "=z", "patch_latent_dim": "=4 * z"},
    "DiTTransformer2DModel": {
        "in_channels": "=z", "out_channels": "=2 * z", "sample_size": 8, "num_embeds_ada_norm": 1000,
    },
    "EasyAnimateTransformer3DModel": {**_PLAIN, "text_embed_dim": _T, "sample_height": 8, "sample_width": 12},
    "ErnieImageTransformer2DModel": {"in_channels": _PACKED, "out_channels": _PACKED, "text_in_dim": _T},
    "Flux2Transformer2DModel": {"in_channels": _PACKED, "joint_attention_dim": "=3 * width('text_encoder')"},
    "FluxControlNetModel": {**_FLUX, "num_layers": 2, "num_single_layers": 2},
    "FluxTransformer2DModel": _FLUX,
    "GlmImageTransformer2DModel": {**_PLAIN, "text_embed_dim": _T},
    "HeliosTransformer3DModel": _WAN,
    "HiDreamImageTransformer2DModel": {
        **_PLAIN, "text_emb_dim": "=pooled('text_encoder') + pooled('text_encoder_2')",
        "caption_channels": ["=width('text_encoder_3')", "=width('text_encoder_4')"],
    },
    "HunyuanDiT2DControlNetModel": {
        "in_channels": "=z",
        "patch_size": 2,
        "num_attention_heads": 4,
        "attention_head_dim": 16,
        "hidden_size": 64,
        "transformer_num_layers": 6,
        "cross_attention_dim": _T,
        "cross_attention_dim_t5": "=width('text_encoder_2')",
        "text_len": 77,
        "text_len_t5": 256,
        "sample_size": 16,
    },
    "HunyuanDiT2DModel": {
        "in_channels": "=z", "cross_attention_dim": _T, "cross_attention_dim_t5": "=width('text_encoder_2')",
        "text_len": 77, "text_len_t5": 256, "sample_size": 16,
    },
    "HunyuanImageTransformer2DModel": {
        **_PLAIN, "text_embed_dim": _T, "text_embed_2_dim": "=width('text_encoder_2')",
    },
    "HunyuanVideo15Transformer3DModel": {
        "in_channels": "=2 * z + 1", "out_channels": "=z", "text_embed_dim": _T,
        "text_embed_2_dim": "=width('text_encoder_2')", "image_embed_dim": 32,
    },
    "HunyuanVideoFramepackTransformer3DModel": {**_HUNYUAN_VIDEO, "image_proj_dim": "=width('image_encoder')"},
    "HunyuanVideoTransformer3DModel": _HUNYUAN_VIDEO,
    "Ideogram4Transformer2DModel": {"in_channels": _PACKED},
    "JoyImageEditPlusTransformer3DModel": {"in_channels": "=z", "text_dim": _T},
    "JoyImageEditTransformer3DModel": {"in_channels": "=z", "text_dim": _T},
    "Kandinsky5Transformer3DModel": {
        "in_visual_dim": "=z", "out_visual_dim": "=z", "in_text_dim": _T, "in_text_dim2": "=width('text_encoder_2')",
    },
    "Krea2Transformer2DModel": {"in_channels": _PACKED, "text_hidden_dim": _T},
    "LTX2VideoTransformer3DModel": {
        **_PLAIN, "caption_channels": _T, "cross_attention_dim": 64, "audio_in_channels": 16, "audio_out_channels": 16,
        "num_attention_heads": 4, "attention_head_dim": 16,
    },
    "LTXVideoTransformer3DModel": {**_PLAIN, "caption_channels": _T, "cross_attention_dim": 64},
    "LatteTransformer3DModel": {
        "in_channels": "=z", "out_channels": "=2 * z", "caption_channels": _T, "sample_size": 8, "video_length": 9,
    },
    "LongCatAudioDiTTransformer": {"latent_dim": "=z", "dit_text_dim": _T},
    "LongCatImageTransformer2DModel": {
        "in_channels": _PACKED, "joint_attention_dim": _T, "pooled_projection_dim": _T,
    },
    "Lumina2Transformer2DModel": {"in_channels": "=z", "cap_feat_dim": _T, "sample_size": 16},
    "LuminaNextDiT2DModel": {"in_channels": "=z", "cross_attention_dim": _T, "sample_size": 16},
    "MochiTransformer3DModel": {"in_channels": "=z", "text_embed_dim": _T},
    "MotifVideoTransformer3DModel": {"in_channels": "=2 * z + 1", "out_channels": "=z", "text_embed_dim": _T},
    "NucleusMoEImageTransformer2DModel": {
        "in_channels": "=4 * z", "out_channels": "=z", "joint_attention_dim": _T,
    },
    "OmniGenTransformer2DModel": {"in_channels": "=z"},
    "OvisImageTransformer2DModel": {"in_channels": _PACKED, "out_channels": _PACKED, "joint_attention_dim": _T},
    "PRXTransformer2DModel": {"in_channels": "=z", "context_in_dim": _T},
    "PixArtTransformer2DModel": _PIXART,
    "QwenImageControlNetModel": {**_QWEN, "num_layers": 2},
    "QwenImageTransformer2DModel": _QWEN,
    "SD3ControlNetModel": {**_SD3, "num_layers": 2},
    "SD3Transformer2DModel": _SD3,
    "SanaControlNetModel": {**_SANA, "num_layers": 1, "sample_size": 16},
    "SanaTransformer2DModel": {**_SANA, "sample_size": 16},
    "SanaVideoTransformer3DModel": {**_SANA},
    "SkyReelsV2Transformer3DModel": _WAN,
    "StableAudio3DiTModel": {
        "io_channels": "=z", "cond_token_dim": _T, "global_cond_dim": _T, "local_add_cond_dim": "=z + 1",
    },
    "StableAudioDiTModel": {
        **_PLAIN, "sample_size": 32, "cross_attention_input_dim": 24, "global_states_input_dim": 48,
    },
    "Transformer2DModel": {},
    "UVit2DModel": {
        "vocab_size": 33, "codebook_size": 32, "encoder_hidden_size": _T, "cond_embed_dim": "=pooled('text_encoder')",
        "micro_cond_encode_dim": 16, "micro_cond_embed_dim": 80, "sample_size": 8,
    },
    "WanAnimateTransformer3DModel": {**_WAN, "in_channels": "=2 * z + 4", "latent_channels": "=z",
                                     "image_dim": "=width('image_encoder')"},
    "WanTransformer3DModel": _WAN,
    "WanVACETransformer3DModel": {**_WAN, "vace_layers": [0, 1], "vace_in_channels": "=2 * z + 64"},
    "ZImageControlNetModel": {
        "control_layers_places": [0, 1], "control_refiner_layers_places": [0, 1], "control_in_dim": "=z", "dim": 64,
        "n_heads": 4, "n_kv_heads": 4, "n_refiner_layers": 2,
    },
    "ZImageTransformer2DModel": {"in_channels": "=z", "cap_feat_dim": _T},
}  # fmt: skip
