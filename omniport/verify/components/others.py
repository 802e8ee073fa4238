"""Tiny configs of what is neither encoder, autoencoder nor denoiser; processors; schedulers with their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_T = "=width('text_encoder')"

OTHERS: dict[str, Mapping[str, Any]] = {
    "AceStepConditionEncoder": {
        "hidden_size": 64, "intermediate_size": 88, "text_hidden_dim": _T, "timbre_hidden_dim": "=z",
        "num_lyric_encoder_hidden_layers": 2, "num_timbre_encoder_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16,
    },
    "AdaptiveProjectedMixGuidance": {"adaptive_projected_guidance_start_step": 1},
    "ClassifierFreeGuidance": {"guidance_scale": 3.0},
    "LearnedClassifierFreeSamplingEmbeddings": {"learnable": True, "hidden_size": _T, "length": 77},
    "LTX2TextConnectors": {
        "caption_channels": _T, "text_proj_in_factor": 4, "video_connector_num_attention_heads": 4,
        "video_connector_attention_head_dim": 10, "video_connector_num_layers": 1,
        "video_connector_num_learnable_registers": 8, "audio_connector_num_attention_heads": 4,
        "audio_connector_attention_head_dim": 10, "audio_connector_num_layers": 1,
        "audio_connector_num_learnable_registers": 8,
    },
    "LTX2Vocoder": {
        "in_channels": 32, "hidden_channels": 32, "upsample_kernel_sizes": [4, 4], "upsample_factors": [2, 2],
        "resnet_kernel_sizes": [3], "resnet_dilations": [[1, 3]],
    },
    "StableAudio3DurationEmbedder": {"output_dim": _T, "fourier_dim": 16},
    "StableAudioProjectionModel": {
        "text_encoder_dim": _T, "conditioning_dim": 24, "min_value": 0, "max_value": 16,
    },
    "StableDiffusionSafetyChecker": {},
}  # fmt: skip

SCHEDULERS: dict[str, Mapping[str, Any]] = {
    "AmusedScheduler": {"mask_token_id": 32},
    "FlowMatchEulerDiscreteScheduler": {"shift": 3.0},
}
"""Settings that published models share and without which a step would not show a mistake."""


def _image_processor(builder: Any, name: str) -> Any:
    from transformers import CLIPImageProcessor

    side = builder.recipe.configs.get(name, {}).get("side", 32)
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def _siglip(builder: Any, name: str) -> Any:
    from transformers import SiglipImageProcessor

    return SiglipImageProcessor(size={"height": 32, "width": 32})


def _clip_processor(builder: Any, name: str) -> Any:
    from transformers import CLIPProcessor

    from omniport.verify.components import tokens

    return CLIPProcessor(  # type: ignore[no-untyped-call]
        _image_processor(builder, name), tokens.build("clip", builder.words())
    )


def _qwen_tokenizer(builder: Any, name: str) -> Any:
    from omniport.verify.components import tokens

    if name != "tokenizer" and builder.entries.get("tokenizer") is not None:
        return builder.component("tokenizer")
    return tokens.build("qwen", builder.words())


def _qwen2_vl(builder: Any, name: str) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor

    from omniport.verify.components.tokens import CHAT

    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    return Qwen2VLProcessor(  # type: ignore[no-untyped-call]
        images, _qwen_tokenizer(builder, name), None, chat_template=CHAT
    )


def _qwen3_vl(builder: Any, name: str) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor

    from omniport.verify.components.tokens import CHAT

    images = Qwen2VLImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64, patch_size=16)
    return Qwen3VLProcessor(  # type: ignore[no-untyped-call]
        images, _qwen_tokenizer(builder, name), None, chat_template=CHAT
    )


def _glm_image(builder: Any, name: str) -> Any:
    import transformers

    from omniport.verify.components import tokens

    plain = tokens.build("glm", builder.words())
    marks = {"image": "<|image|>", "grid_bos": "<sop>", "grid_eos": "<eop>", "image_end": "<|image_end|>"}
    tokenizer = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=plain.backend_tokenizer,
        bos_token="<|image_start|>",
        eos_token=plain.eos_token,
        pad_token=plain.pad_token,
        extra_special_tokens={f"{name}_token": token for name, token in marks.items()},
    )
    seen = "<|vision_start|><|image_pad|><|vision_end|>"
    template = plain.chat_template.replace(seen, "<|image_start|><|image|><|image_end|>")
    images = transformers.GlmImageImageProcessor(patch_size=16, merge_size=1, temporal_patch_size=1)
    return transformers.GlmImageProcessor(images, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]


def _siglip2(builder: Any, name: str) -> Any:
    import transformers

    return getattr(transformers, "Siglip2ImageProcessorFast")(patch_size=8, max_num_patches=16)  # noqa: B009  (hidden from type checkers)


PROCESSORS: dict[str, Callable[[Any, str], Any]] = {
    "CLIPImageProcessor": _image_processor,
    "CLIPProcessor": _clip_processor,
    "GlmImageProcessor": _glm_image,
    "Qwen2VLProcessor": _qwen2_vl,
    "Qwen3VLProcessor": _qwen3_vl,
    "Siglip2ImageProcessorFast": _siglip2,
    "SiglipImageProcessor": _siglip,
}
