"""Tiny configs of the encoders, by class.  Values that begin with ``=`` are expressions (see ``build``).

Widths differ from one another where a pipeline does not demand that they are equal, so that mixed-up texts show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]

_LAYERS = 3  # pipelines take the hidden states before the last layer


def language_model(width: int = 40, **more: Any) -> dict[str, Any]:
    """Keys that the decoder-only language models of transformers share."""
    return {
        "hidden_size": width,
        "intermediate_size": 56,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": "=vocabulary",
        "max_position_embeddings": 4096,
        "pad_token_id": "=pad",
        "bos_token_id": "=begin",
        "eos_token_id": "=end",
        **more,
    }


_MROPE = {"rope_type": "default", "mrope_section": [1, 2, 2], "rope_theta": 10000.0}
_TEN = {"head_dim": 10}  # Qwen2-VL derives it from width and heads
_QWEN_IDS = {
    "image_token_id": "=token('<|image_pad|>')",
    "video_token_id": "=token('<|video_pad|>')",
    "vision_start_token_id": "=token('<|vision_start|>')",
    "vision_end_token_id": "=token('<|vision_end|>')",
}
_QWEN2_VL_TEXT = language_model(rope_parameters=_MROPE, **_TEN)
QWEN2_5_VL: Config = {
    "text_config": _QWEN2_VL_TEXT,
    "vision_config": {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 40,
        "window_size": 56, "fullatt_block_indexes": [1], "patch_size": 14, "spatial_merge_size": 2,
    },
    **_QWEN_IDS,
}  # fmt: skip
QWEN2_VL: Config = {
    "text_config": _QWEN2_VL_TEXT,
    "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 40, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14},
    **_QWEN_IDS,
}
QWEN3_VL: Config = {
    "text_config": language_model(rope_parameters={**_MROPE, "mrope_interleaved": True}, **_TEN),
    "vision_config": {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 40,
        "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    },
    **_QWEN_IDS,
}  # fmt: skip
_MISTRAL3: Config = {
    "text_config": {"model_type": "mistral", **language_model()},
    "vision_config": {
        "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "head_dim": 16, "patch_size": 14, "image_size": 56,
    },
    "image_token_index": "=token('[IMG]')",
    "spatial_merge_size": 2,
}  # fmt: skip
_CLIP_TEXT = {
    "hidden_size": 28,
    "intermediate_size": 44,
    "num_attention_heads": 4,
    "num_hidden_layers": _LAYERS,
    "projection_dim": 28,
    "vocab_size": "=vocabulary",
    "bos_token_id": "=begin",
    "eos_token_id": "=end",
    "pad_token_id": "=end",
}
CLIP_VISION = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_attention_heads": 4,
    "num_hidden_layers": _LAYERS,
    "projection_dim": 36,
    "image_size": 32,
    "patch_size": 8,
}
_T5 = {
    "d_model": 72,  # not less than two CLIPs side by side, which pipelines pad to its width
    "d_kv": 8,
    "d_ff": 56,
    "num_layers": 2,
    "num_heads": 4,
    "num_decoder_layers": 2,
    "vocab_size": "=vocabulary",
    "feed_forward_proj": "gated-gelu",
}
_GEMMA2 = language_model(query_pre_attn_scalar=8, sliding_window=4096)
_SIGLIP_VISION = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "image_size": 32,
    "patch_size": 8,
}

ENCODERS: dict[str, Config] = {
    "BertModel": {
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": "=vocabulary",
    },
    "CLIPTextModel": _CLIP_TEXT,
    "CLIPTextModelWithProjection": _CLIP_TEXT,
    "CLIPVisionModel": CLIP_VISION,
    "CLIPVisionModelWithProjection": CLIP_VISION,
    "Gemma2Model": _GEMMA2,
    "Gemma3ForConditionalGeneration": {
        "text_config": language_model(query_pre_attn_scalar=8, sliding_window=4096),
        "vision_config": {**_SIGLIP_VISION, "patch_size": 8, "image_size": 32},
        "mm_tokens_per_image": 4,
        "image_token_index": 6,
        "boi_token_index": 7,
        "eoi_token_index": 8,
    },
    "GemmaModel": language_model(),
    "GlmImageForConditionalGeneration": {
        "text_config": language_model(
            rope_parameters={**_MROPE, "mrope_section": [1, 2, 2]}, vision_vocab_size=40, eos_token_id=40, **_TEN
        ),
        "vision_config": {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "image_size": 64},
        "vq_config": {"embed_dim": 24, "num_embeddings": 40, "latent_channels": 32},
        "image_token_id": "=token('<|image|>')",
        "image_start_token_id": "=begin",
        "image_end_token_id": "=token('<|image_end|>')",
    },
    "GlmModel": language_model(partial_rotary_factor=0.5),
    "LlamaForCausalLM": language_model(),
    "LlamaModel": language_model(),
    "LlavaForConditionalGeneration": {
        "text_config": {"model_type": "llama", **language_model()},
        "vision_config": {"model_type": "clip_vision_model", **CLIP_VISION},
        "image_token_index": "=token('<image>')",
        "pad_token_id": "=pad",
        "image_seq_length": 16,
    },
    "Mistral3ForConditionalGeneration": _MISTRAL3,
    "Mistral3Model": _MISTRAL3,
    "Qwen2VLForConditionalGeneration": QWEN2_VL,
    "Qwen2_5_VLForConditionalGeneration": QWEN2_5_VL,
    "Qwen2_5_VLTextModel": _QWEN2_VL_TEXT,
    "Qwen3ForCausalLM": language_model(),
    "Qwen3Model": language_model(),
    "Qwen3VLForConditionalGeneration": QWEN3_VL,
    "Qwen3VLModel": QWEN3_VL,
    "Siglip2VisionModel": {**_SIGLIP_VISION, "num_patches": 16},
    "SiglipVisionModel": _SIGLIP_VISION,
    "SmolLM3ForCausalLM": language_model(),
    "T5EncoderModel": _T5,
    "T5GemmaEncoderModel": {
        "encoder": {**language_model(query_pre_attn_scalar=8, sliding_window=4096)},
        "decoder": {**language_model(query_pre_attn_scalar=8, sliding_window=4096)},
        "vocab_size": "=vocabulary",
        "is_encoder_decoder": False,
    },
    "T5GemmaEncoder": {
        "encoder": language_model(query_pre_attn_scalar=8, sliding_window=4096),
        "decoder": language_model(query_pre_attn_scalar=8, sliding_window=4096),
    },
    "T5Gemma2Encoder": {
        "text_config": language_model(query_pre_attn_scalar=8, sliding_window=4096, dropout_rate=0.0),
        "vision_config": {"model_type": "siglip_vision_model", **_SIGLIP_VISION},
        "image_token_index": 6,
        "boi_token_index": 7,
        "eoi_token_index": 8,
        "mm_tokens_per_image": 4,
    },
    "UMT5EncoderModel": _T5,
}

TOKENIZERS: dict[str, str] = {
    "Gemma2Model": "gemma",
    "Gemma3ForConditionalGeneration": "gemma",
    "GemmaModel": "gemma",
    "GlmModel": "glm",
    "LlamaForCausalLM": "llama3",
    "Mistral3ForConditionalGeneration": "mistral",
    "Mistral3Model": "mistral",
    "Qwen2VLForConditionalGeneration": "qwen",
    "Qwen2_5_VLForConditionalGeneration": "qwen",
    "Qwen2_5_VLTextModel": "qwen",
    "Qwen3ForCausalLM": "qwen",
    "Qwen3Model": "qwen",
    "Qwen3VLForConditionalGeneration": "qwen",
    "Qwen3VLModel": "qwen",
    "SmolLM3ForCausalLM": "smol",
    "T5EncoderModel": "t5",
    "T5GemmaEncoder": "gemma",
    "T5GemmaEncoderModel": "gemma",
    "T5Gemma2Encoder": "gemma",
    "UMT5EncoderModel": "t5",
}
"""Family of the tokenizer of an encoder, where the tokenizer's own class does not tell (AutoTokenizer)."""
