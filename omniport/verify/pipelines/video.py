"""Recipes of video pipelines."""

from __future__ import annotations

from omniport.verify.pipelines.form import Recipe

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

VIDEO: dict[str, Recipe] = {
    "MotifVideoImage2VideoPipeline": _MOTIF,
    "MotifVideoPipeline": _MOTIF,
    "SanaImageToVideoPipeline": _SANA,
    "SanaVideoPipeline": _SANA,
}
