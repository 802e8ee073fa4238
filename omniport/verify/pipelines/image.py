"""Recipes of image pipelines."""

from __future__ import annotations

from omniport.verify.pipelines.form import Recipe

_GEMMA2 = {"text_encoder": "transformers.Gemma2Model"}
_QWEN3 = {"text_encoder": "transformers.Qwen3Model"}
_SANA = Recipe("Gemma 2 is annotated by its base class", _GEMMA2)
_ZIMAGE = Recipe("the encoder is annotated by the base class of all; published is Qwen3", _QWEN3)

_OUT_LAYERS = {"text_encoder_out_layers": (1, 2, 3)}
_FLUX2 = Recipe("texts are taken from three layers of a deep encoder", call=_OUT_LAYERS)
_LONGCAT = Recipe("the pipeline asks for 16 latent channels", configs={"vae": {"latent_channels": 16}})
_HUNYUAN_DIT = Recipe(
    "the second encoder is optional in the signature only",
    {"text_encoder_2": "transformers.T5EncoderModel", "tokenizer_2": "transformers.T5Tokenizer"},
)

IMAGE: dict[str, Recipe] = {
    "Flux2KleinInpaintPipeline": _FLUX2,
    "Flux2KleinKVPipeline": _FLUX2,
    "Flux2KleinPipeline": _FLUX2,
    "Flux2Pipeline": _FLUX2,
    "HunyuanDiTControlNetPipeline": _HUNYUAN_DIT,
    "HunyuanDiTPAGPipeline": _HUNYUAN_DIT,
    "HunyuanDiTPipeline": _HUNYUAN_DIT,
    "LongCatImageEditPipeline": _LONGCAT,
    "LongCatImagePipeline": _LONGCAT,
    "Lumina2Pipeline": Recipe("Gemma 2 is annotated by its base class", _GEMMA2),
    "LuminaPipeline": Recipe("Gemma is annotated by its base class", {"text_encoder": "transformers.GemmaModel"}),
    "SanaControlNetPipeline": _SANA,
    "SanaPAGPipeline": _SANA,
    "SanaPipeline": _SANA,
    "SanaSprintImg2ImgPipeline": _SANA,
    "SanaSprintPipeline": _SANA,
    "ZImageControlNetInpaintPipeline": _ZIMAGE,
    "ZImageControlNetPipeline": _ZIMAGE,
    "ZImageImg2ImgPipeline": _ZIMAGE,
    "ZImageInpaintPipeline": _ZIMAGE,
    "ZImageOmniPipeline": _ZIMAGE,
    "ZImagePipeline": _ZIMAGE,
}
