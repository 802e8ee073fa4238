"""Requests on which hand-written ports of vLLM-Omni give other results than diffusers, as data.

Each case is one call of a pipeline's reference and of its generated port, and the mistake of the hand-written port as a
change of the generated one's text, which the comparison must catch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omniport.verify.pipelines.form import Noise

LONG = " ".join(f"a photo of a cat sitting on a red chair number {n}" for n in range(8))
"""Text of more than one bucket of 32 tokens."""
SHORT = "a cat"


@dataclass(frozen=True)
class Case:
    """One request.

    ``item`` is the number in the audit of the hand-written ports (section 6), 0 for a rule that holds for all of them.
    ``start`` names a call that every pipeline of the corpus is compared on; ``changes`` are arguments of this one, None
    leaves one out; ``prompts`` replaces the texts, several of them are a batch of requests.  ``configs`` adds to the
    config values of components.  ``decoded`` asks for the output behind the autoencoder.  ``times`` compares in half
    precision, and only at which times the denoiser is called.  ``twin`` are text of the port and what the mistake makes
    of it, in the transformer's file with ``twin_in``; ``told`` is a part of what the comparison says then.
    """

    item: int
    pipeline: str
    mistake: str
    twin: tuple[str, str]
    told: str
    start: str = "base"
    changes: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decoded: bool = False
    times: bool = False
    twin_in: str = "pipeline"


def _lost(pipeline: str, default: str, **more: Any) -> Case:
    """The pipeline without a guidance scale: the hand-written port runs at 1.0."""
    return Case(
        6,
        pipeline,
        f"an omitted guidance_scale is 1.0, not {default}",
        (f"guidance_scale_provided else {default}", "guidance_scale_provided else 1.0"),
        "step 0",
        start="defaults",
        changes={"num_inference_steps": 2, **more},
    )


def _frames(pipeline: str, default: int) -> Case:
    return Case(
        7,
        pipeline,
        f"an omitted num_frames is 1, not {default}",
        (f"default_num_frames={default}", "default_num_frames=1"),
        "step 0: model_output",
        changes={"num_frames": None, "num_inference_steps": 1, "height": 32, "width": 32},
    )


CASES: dict[str, Case] = {
    "captions of different length": Case(
        1,
        "ZImagePipeline",
        "a batch takes the positions of its first sample for all",
        ("pad_sequence(unified_freqs,", "pad_sequence([unified_freqs[0]] * bsz,"),
        "step 0: model_output",
        prompts=(LONG, SHORT),
        twin_in="transformer",
    ),
    "a short negative prompt": Case(
        1,
        "ZImagePipeline",
        "the negative side has the positions of the positive one",
        ('"cap_feats": negative_prompt_embeds', '"cap_feats": prompt_embeds'),
        "step 0: model_output",
        changes={"negative_prompt": SHORT},
        prompts=(LONG,),
    ),
    "a partial schedule": Case(
        3,
        "Flux2KleinInpaintPipeline",
        "set_begin_index(0) pairs the last times with the first sigmas",
        (
            "        if num_inference_steps < 1:\n",
            "        self.scheduler.set_begin_index(0)\n        if num_inference_steps < 1:\n",
        ),
        "step 0: model_output",
        changes={"strength": 0.5},
    ),
    "guidance of FLUX": _lost("FluxPipeline", "3.5"),
    "guidance of SD3": _lost("StableDiffusion3Pipeline", "7.0"),
    "guidance of Ovis": _lost("OvisImagePipeline", "5.0"),
    "guidance of LongCat": _lost("LongCatImagePipeline", "4.5", enable_prompt_rewrite=False),
    "guidance of LongCat Edit": _lost("LongCatImageEditPipeline", "4.5", num_inference_steps=1),
    "guidance of FLUX.2": _lost("Flux2Pipeline", "4.0"),
    "guidance of FLUX.2 Klein": _lost("Flux2KleinPipeline", "4.0"),
    "guidance of ERNIE-Image": _lost("ErnieImagePipeline", "4.0"),
    "guidance of Z-Image": _lost("ZImagePipeline", "5.0"),
    "frames of HunyuanVideo": _frames("HunyuanVideoPipeline", 129),
    "frames of Wan": _frames("WanPipeline", 81),
    "several prompts, two images each": Case(
        8,
        "StableDiffusion3Pipeline",
        "the texts are not repeated for the images of a prompt",
        ("            num_images_per_prompt=num_images_per_prompt,\n            max_seq", "            max_seq"),
        "must match the size",
        start="two prompts",
        changes={"num_images_per_prompt": 2},
    ),
    "a shift by the number of tokens": Case(
        9,
        "StableDiffusion3Pipeline",
        "the shift counts channels for tokens",
        (
            "image_seq_len = (height // self.transformer.patch_size) * (width // self.transformer.patch_size)",
            "image_seq_len = latents.shape[1]",
        ),
        "step 0: result",
        configs={"scheduler": {"use_dynamic_shifting": True}},
    ),
    "times in half precision": Case(
        10,
        "StableDiffusion3Pipeline",
        "times are rounded to the precision of the model",
        (
            "timestep = t.expand(latents.shape[0])\n",
            "timestep = t.expand(latents.shape[0]).to(latents.dtype)\n",
        ),
        "time",
        times=True,
    ),
    "guidance without a negative prompt": Case(
        12,
        "LongCatImageEditPipeline",
        "guidance is off where no negative prompt is given",
        (
            "do_classifier_free_guidance = guidance_scale > 1",
            "do_classifier_free_guidance = guidance_scale > 1 and bool(negative_prompt)",
        ),
        "step 0",
        start="defaults",
        changes={"num_inference_steps": 1},
    ),
    "the negative prompt of a request": Case(
        13,
        "ErnieImagePipeline",
        "the request's negative prompt is not read",
        ('req.get_prompt_field(p, "negative_prompt")', "None"),
        "step 0: model_output",
    ),
    "latents of a request": Case(
        13,
        "ErnieImagePipeline",
        "the request's latents are not read",
        ('req.collate_request_tensors("latents", None)', "None"),
        "step 0",
        changes={"latents": Noise((1, 16, 4, 6))},
    ),
    "the output type of a request": Case(
        13,
        "ErnieImagePipeline",
        "the request's output type is not read",
        ("output_type = params.output_type or self.od_config.output_type", 'output_type = "np"'),
        "shapes",
        changes={"num_inference_steps": 1},
    ),
    "the epsilon of a normalisation": Case(
        13,
        "ErnieImagePipeline",
        "the epsilon is the config's, not the one that diffusers decodes with",
        ("+ 1e-5)", "+ self.vae.config.batch_norm_eps)"),
        "the output is",
        configs={"vae": {"batch_norm_eps": 0.5}},
        decoded=True,
    ),
    "one scale for each guidance": Case(
        14,
        "FluxPipeline",
        "embedded guidance and true guidance share a scale",
        (
            "true_cfg_scale = params.true_cfg_scale if params.true_cfg_scale is not None else 1.0",
            "true_cfg_scale = params.guidance_scale",
        ),
        "step 0: model_output",
        changes={"guidance_scale": 2.0, "true_cfg_scale": 3.0},
    ),
    "an explicit 0": Case(
        0,
        "ZImagePipeline",
        "a scale of 0 counts as omitted",
        ("params.guidance_scale if params.guidance_scale_provided else 5.0", "params.guidance_scale or 5.0"),
        "step 0: model_output",
        changes={"guidance_scale": 0.0},
    ),
    "a generator for each request": Case(
        0,
        "StableDiffusion3Pipeline",
        "all requests of a batch draw from the first one's generator",
        ("req.collate_request_generators(num_images_per_prompt, None)", "params.generator"),
        "step 0",
        start="two prompts",
    ),
    "the scheduler of the repository": Case(
        0,
        "WanPipeline",
        "the schedule has a shift of its own",
        ('subfolder="scheduler", **pretrained', 'subfolder="scheduler", shift=5.0, **pretrained'),
        "step 0: result",
        configs={"scheduler": {"shift": 3.0}},
        changes={"num_inference_steps": 2},
    ),
}
