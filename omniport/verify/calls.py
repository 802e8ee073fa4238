"""The calls that a pipeline is compared on, made up from the reference's signature.  Runs in a forked child.

Every call is a mapping of the reference's parameters to values; :func:`request` turns it into vLLM-Omni's request.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from omniport.errors import OmniportError
from omniport.verify.cases import HEIGHT, RENAMED, SEED, WIDTH
from omniport.verify.pipelines.form import Noise, Picture, Recipe
from omniport.verify.tokenizers import NEGATIVE, PROMPTS

STEPS = 3
FRAMES = 9
GUIDANCE = 3.0
STRENGTH = 2 / 3  # two of three steps, however a pipeline rounds

GUIDANCE_NAMES = ("true_cfg_scale", "guidance_scale")
"""The first that a pipeline has is the scale that switches its two branches on."""

SEVERAL = "two outputs"
"""Name of the call for several outputs of one prompt."""

PERTURBATION, ADAPTIVE = "pag_scale", "pag_adaptive_scale"
"""The scale of guidance by perturbed attention, and how much it falls from one time to the next."""

MEDIA = ("image", "mask_image", "video", "audio")
"""Keys of ``multi_modal_data`` that vLLM-Omni's front ends fill."""

#: Parameter -> front end's key, where the names differ; the first of a pipeline that has none of that name takes it.
MEDIA_ALIASES = {
    "images": "image",
    "input_images": "image",
    "image_reference": "image",
    "reference_images": "image",
    "ref_image": "image",
    "cond_image": "image",
    "src_audio": "audio",
    "initial_audio_waveforms": "audio",
}
OTHER_MEDIA = (
    "control_image", "control_mask", "control_video", "mask", "mask_video", "pose_video", "face_video",
    "background_video", "last_image", "reference_audio", "controls",
)  # fmt: skip

#: Fields of the request that are never None, so that a port may read an extra argument of the same name instead.
AMBIGUOUS = ("eta", "guidance_rescale", "layers", "resolution", "seed")

_FIELDS = {
    **RENAMED,
    "num_waveforms_per_prompt": "num_outputs_per_prompt",
    "distilled_guidance_scale": "guidance_scale",
    "frames": "num_frames",
    "video_length": "num_frames",
    "image_latents": "image_latent",
}
#: Parameter -> field of ``OmniDiffusionSamplingParams``, where the names differ.


@dataclass(frozen=True)
class Call:
    """One call.  ``arguments`` by the reference's names; ``prompts`` has several entries for a batch of requests;
    ``latent`` asks for latents instead of the decoded output."""

    name: str
    arguments: Mapping[str, Any]
    prompts: tuple[str, ...] = PROMPTS[:1]
    latent: bool = False


def picture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Any:
    """A smooth picture with no symmetry."""
    import numpy
    from PIL import Image

    rows, columns = numpy.mgrid[0:height, 0:width]
    waves = [
        numpy.sin(columns / (7 + 3 * c + seed)) + numpy.cos(rows / (11 - 2 * c) + seed) + 0.01 * rows for c in range(3)
    ]
    return Image.fromarray((numpy.stack(waves, -1) * 50 + 110).clip(0, 255).astype("uint8"))


def mask(width: int = WIDTH, height: int = HEIGHT) -> Any:
    """White where a picture is to be painted: a block off the middle."""
    from PIL import Image

    made = Image.new("L", (width, height), 0)
    made.paste(255, (width // 4, height // 3, width - width // 8, height - height // 8))
    return made


def film(frames: int = FRAMES) -> list[Any]:
    """Pictures that change from one to the next."""
    return [picture(seed=i) for i in range(frames)]


def sound(samples: int = 512, channels: int = 2) -> Any:
    """Two channels [1, channels, samples] of different tones."""
    import torch

    time = torch.arange(samples) / samples
    return torch.stack([torch.sin(40 * time + c) * 0.5 for c in range(channels)])[None]


def drawn(value: Any) -> Any:
    """The value with pictures and tensors in place of each :class:`Picture` and :class:`Noise`."""
    if isinstance(value, Picture):
        size = (value.width or WIDTH, value.height or HEIGHT)
        made = [picture(*size, seed=value.seed + i) for i in range(value.frames or 1)]
        return made if value.frames else made[0]
    if isinstance(value, Noise):
        tensors = [_noise(value, i) for i in range(value.count or 1)]
        return tensors if value.count else tensors[0]
    if isinstance(value, (list, tuple)):
        return type(value)(drawn(v) for v in value)
    if isinstance(value, dict):
        return {k: drawn(v) for k, v in value.items()}
    return value


def _noise(noise: Noise, seed: int) -> Any:
    import torch

    made = torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed))
    return (made > 0).float() if noise.binary else made


def _media() -> dict[str, Any]:
    return {
        "image": picture(),
        "images": [picture()],
        "input_images": [picture()],
        "image_reference": picture(),
        "reference_images": [picture(seed=2)],
        "mask_image": mask(),
        "mask": mask(),
        "control_image": picture(seed=3),
        "control_mask": mask(),
        "video": film(),
        "control_video": film(),
        "pose_video": film(),
        "face_video": film(),
        "audio": sound(),
    }


def base_arguments(signature: inspect.Signature, recipe: Recipe) -> dict[str, Any]:
    """Arguments of the fullest call: every common parameter with a value that is not its default.

    Raises:
        OmniportError: a required parameter has no rule.
    """
    parameters = signature.parameters
    made: dict[str, Any] = {
        "prompt": PROMPTS[0],
        "prompt_2": PROMPTS[1],
        "negative_prompt": NEGATIVE,
        "height": HEIGHT,
        "width": WIDTH,
        "num_frames": FRAMES,
        "frames": FRAMES,
        "video_length": FRAMES,
        "num_inference_steps": STEPS,
        "strength": STRENGTH,
        "max_sequence_length": 64,
        **_media(),
    }
    if PERTURBATION in parameters:
        made[PERTURBATION] = 0.7 if parameters[PERTURBATION].default != 0.7 else 0.8
    for name in GUIDANCE_NAMES:
        if name in parameters:
            made[name] = GUIDANCE if parameters[name].default != GUIDANCE else GUIDANCE + 0.5
    chosen = {k: v for k, v in made.items() if k in parameters} | dict(recipe.call)
    chosen = {k: drawn(v) for k, v in chosen.items() if v is not None}
    required = {n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    if missing := sorted(required - chosen.keys() - {"self"}):
        raise OmniportError(f"no rule makes a value for the required {', '.join(missing)}")
    return chosen


def calls_for(signature: inspect.Signature, recipe: Recipe) -> list[Call]:
    """The calls of a pipeline.

    * ``base``: every common argument given, guidance on, two texts; decoded output.
    * ``defaults``: guidance, strength, lengths left out, so that the reference's own defaults must hold; latents.
    * ``guidance off``: the scale that says no guidance.
    * ``perturbation off``, ``perturbation adaptive``: guidance by perturbed attention, where there is any.
    * ``two outputs``: of one prompt.  ``two prompts``: two requests of different length.
    """
    base = base_arguments(signature, recipe)
    parameters = signature.parameters
    prompts = (base["prompt"],) if isinstance(base.get("prompt"), str) else PROMPTS[:1]
    calls = [Call("base", base, prompts)]
    scale = next((n for n in GUIDANCE_NAMES if n in parameters), None)
    left_out = {*GUIDANCE_NAMES, PERTURBATION, "strength", "max_sequence_length", "negative_prompt", "prompt_2"}
    left_out -= recipe.call.keys()
    calls.append(Call("defaults", {k: v for k, v in base.items() if k not in left_out}, prompts, latent=True))
    # Ahead of what the reference may fail at, which leaves its attention processors exchanged.
    if PERTURBATION in parameters:
        calls.append(Call("perturbation off", {**base, PERTURBATION: 0.0}, prompts, latent=True))
    if ADAPTIVE in parameters:
        calls.append(Call("perturbation adaptive", {**base, ADAPTIVE: 5e-4}, prompts, latent=True))
    if scale is not None:
        calls.append(Call("guidance off", {**base, scale: 1.0}, prompts, latent=True))
    number = next((n for n in parameters if _FIELDS.get(n) == "num_outputs_per_prompt"), None)
    if number is not None:
        calls.append(Call(SEVERAL, {**base, number: 2}, prompts, latent=True))
    if base.get("prompt") == PROMPTS[0]:
        # A second text is an argument of one request, with which a port runs each request by itself.
        together = {k: v for k, v in base.items() if k != "prompt_2" or k in recipe.call}
        calls.append(Call("two prompts", together, prompts=PROMPTS, latent=True))
    changed = []
    for call in calls:
        more = recipe.cases.get(call.name, {})
        if more is not None:
            arguments = {k: v for k, v in {**call.arguments, **more}.items() if v is not None}
            changed.append(replace(call, arguments=arguments))
    return changed


def run_reference(pipeline: Any, call: Call, output_type: str | None = None) -> Any:
    """The reference's output of a call; ``output_type`` replaces the call's own, latents or arrays."""
    import torch

    arguments = dict(call.arguments)
    several = len(call.prompts) > 1
    generators = [torch.Generator("cpu").manual_seed(SEED + i) for i in range(len(call.prompts))]
    if several:
        number = next((v for k, v in arguments.items() if _FIELDS.get(k) == "num_outputs_per_prompt"), 1)
        generators = [g for g in generators for _ in range(number)]
        arguments["prompt"] = list(call.prompts)
        for name in arguments:
            if name.startswith(("prompt_", "negative_prompt")) and isinstance(arguments[name], str):
                arguments[name] = [arguments[name]] * len(call.prompts)
    torch.manual_seed(SEED)
    wanted = output_type or ("latent" if call.latent else "np")
    return pipeline(generator=generators if several else generators[0], output_type=wanted, **arguments)


def request(call: Call, index: int, parameters: Mapping[str, Any], output_type: str | None = None) -> Any:
    """vLLM-Omni's request of the call's prompt number ``index``; ``output_type`` as in :func:`run_reference`."""
    from vllm_omni.diffusion.request import OmniDiffusionRequest

    prompt, params = inputs(call, index, parameters, output_type)
    return OmniDiffusionRequest(prompt=prompt, sampling_params=params, request_id=f"{call.name}-{index}")


def inputs(
    call: Call, index: int, parameters: Mapping[str, Any], output_type: str | None = None
) -> tuple[dict[str, Any], Any]:
    """The call's prompt number ``index`` and its sampling parameters, as a user of vLLM-Omni gives them."""
    from vllm_omni.inputs.data import OmniDiffusionSamplingParams

    known = {f.name for f in fields(OmniDiffusionSamplingParams)}
    prompt: dict[str, Any] = {"prompt": call.prompts[index]}
    media: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in call.arguments.items():
        field = _FIELDS.get(name, name)
        if name == "prompt":
            continue
        if name == "negative_prompt":
            prompt[name] = value
        elif name in MEDIA:
            media[name] = value
        elif name in MEDIA_ALIASES and MEDIA_ALIASES[name] not in parameters:
            media[MEDIA_ALIASES[name]] = extra[name] = value
        elif name in OTHER_MEDIA or name in MEDIA_ALIASES:
            media[name] = extra[name] = value
        elif field in known and field != "seed":
            sampling[field] = value
            if name in AMBIGUOUS:
                extra[name] = value
        else:
            extra[name] = value
    if media:
        prompt["multi_modal_data"] = media
    wanted = output_type or ("latent" if call.latent else "np")
    return prompt, OmniDiffusionSamplingParams(seed=SEED + index, output_type=wanted, extra_args=extra, **sampling)
