"""Recipes of video pipelines."""

from __future__ import annotations

from omniport.verify.pipelines.form import Noise, Recipe

_SANA = Recipe(
    "Gemma 2 is annotated by its base class; published with Wan's VAE",
    {"text_encoder": "transformers.Gemma2Model", "vae": "diffusers.AutoencoderKLWan"},
    call={"use_resolution_binning": False},
)
_MOTIF = Recipe(
    "scheduler and guider are annotated by their base classes",
    {
        "scheduler": "diffusers.FlowMatchEulerDiscreteScheduler",
        "guider": "diffusers.ClassifierFreeGuidance",
        "tokenizer": "transformers.GemmaTokenizer",
    },
)

_LEARNED = {"max_sequence_length": 226}  # position embeddings are learned for this length
_WITH_IMAGE = {"transformer": {"in_channels": "=2 * z", "out_channels": "=z"}}

VIDEO: dict[str, Recipe] = {
    "CogVideoXFunControlPipeline": Recipe("the control video joins the channels", configs=_WITH_IMAGE, call=_LEARNED),
    "CogVideoXImageToVideoPipeline": Recipe("the picture joins the channels", configs=_WITH_IMAGE, call=_LEARNED),
    "CogVideoXPipeline": Recipe("texts have one length", call=_LEARNED),
    "CogVideoXVideoToVideoPipeline": Recipe("texts have one length", call=_LEARNED),
    "ConsisIDPipeline": Recipe(
        "a face comes as its embedding and the layers of an image encoder",
        configs=_WITH_IMAGE,
        call={
            **_LEARNED,
            "id_cond": Noise((1, 20)),
            "id_vit_hidden": Noise((1, 7, 24), count=2),
        },
    ),
    "Cosmos3OmniPipeline": Recipe("the tokenizer is that of Qwen", tokenizers={"text_tokenizer": "qwen"}),
    "EasyAnimateInpaintPipeline": Recipe(
        "videos come as tensors; published with the masked video in the channels",
        configs={"transformer": {"in_channels": "=2 * z + 1"}, "vae": {"cache_mag_vae": False}},
        call={"video": Noise((1, 3, 9, 64, 96)), "mask_video": Noise((1, 1, 9, 64, 96), binary=True)},
        cases={"defaults": {"negative_prompt": "blurry"}},
    ),
    "EasyAnimatePipeline": Recipe(
        "an omitted negative prompt is not None-safe", cases={"defaults": {"negative_prompt": "blurry"}}
    ),
    "MotifVideoImage2VideoPipeline": _MOTIF,
    "MotifVideoPipeline": _MOTIF,
    "SanaImageToVideoPipeline": _SANA,
    "SanaVideoPipeline": _SANA,
}
