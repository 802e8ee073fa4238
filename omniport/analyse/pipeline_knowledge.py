"""What holds for every reference pipeline, as data with reasons: where arguments come from, and what goes.

Source of the binding table: ``OmniDiffusionSamplingParams`` and ``DiffusionRequestBatch`` of vLLM-Omni, and the
parameters of the 149 diffusers pipelines that have a transformer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from omniport.records import dataclass

Scope = Literal["prompt", "shared", "request", "extra"]


@dataclass(frozen=True)
class Binding:
    """Where a parameter comes from.

    ``source`` is an expression; ``{default}`` stands for the reference's default, ``{name}`` for the parameter.
    ``params`` is the sampling parameters of the first request, ``req`` the batch.  ``scope``: ``prompt`` values
    belong to a prompt, ``shared`` ones are equal for all requests that the scheduler batches, ``request`` ones are
    not, ``extra`` ones come from the free ``extra_args`` of a request.  ``only`` is the one default (as source) under
    which the field can be used: a field that is never None cannot tell "omitted" from its own default.
    """

    source: str
    scope: Scope
    reason: str
    only: str | None = None


def _field(field: str) -> Binding:
    return Binding(
        f"params.{field} if params.{field} is not None else {{default}}",
        "shared",
        f"field {field}; None means not given, so that an explicit 0 is kept",
    )


def _provided(field: str) -> Binding:
    return Binding(
        f"params.{field} if params.{field}_provided else {{default}}",
        "shared",
        f"the request turns an omitted {field} into 1.0; only {field}_provided tells",
    )


def _always(field: str, default: str) -> Binding:
    return Binding(f"params.{field}", "shared", f"field {field}, {default} if omitted", only=default)


FRAMES = Binding(
    "resolve_video_num_frames(params.num_frames, default_num_frames={default}, is_dummy_run=req.is_dummy_run())",
    "shared",
    "field num_frames; 1 means omitted, but in the warm-up",
)
#: The same where the reference works out an omitted number itself, from other arguments.
FRAMES_OR_NONE = Binding(
    "params.num_frames if params.num_frames != 1 else None",
    "shared",
    "field num_frames; 1 means omitted, in the warm-up, too: some cannot run on one frame",
)
_RATE = "params.resolved_frame_rate"

_PROMPTS = '[p if isinstance(p, str) else p.get("prompt") or "" for p in req.prompts]'
_NEGATIVE = '[n for p in req.prompts if (n := req.get_prompt_field(p, "{name}")) is not None] or None'
_NEGATIVE_OR = '[n if (n := req.get_prompt_field(p, "{name}")) is not None else {default} for p in req.prompts]'
_GENERATOR = "params.generator if req.num_reqs == 1 else req.collate_request_generators({outputs}, None)"
#: The same for pipelines that take one request at a time, whose prompt is :data:`FIRST_PROMPT`.
FIRST_PROMPT = "first_prompt"
ONE = {
    _PROMPTS: f'{FIRST_PROMPT} if isinstance({FIRST_PROMPT}, str) else {FIRST_PROMPT}.get("prompt") or ""',
    _NEGATIVE: f'req.get_prompt_field({FIRST_PROMPT}, "{{name}}")',
    _NEGATIVE_OR: f'n if (n := req.get_prompt_field({FIRST_PROMPT}, "{{name}}")) is not None else {{default}}',
    _GENERATOR: "params.generator",
}
#: A negative prompt that has a default of its own; a request that gives none gets it.
NEGATIVE_OR = Binding(_NEGATIVE_OR, "prompt", "the reference's default where a request has none")
OUTPUTS = Binding("params.num_outputs_per_prompt", "shared", "field num_outputs_per_prompt, 1 if omitted")

#: Parameter -> where it comes from.  A parameter that is in no table is an extra argument of the request.
BINDINGS: dict[str, Binding] = {
    "prompt": Binding(_PROMPTS, "prompt", "the prompt of each request, as a list"),
    "negative_prompt": Binding(_NEGATIVE, "prompt", "None stays None: its presence switches guidance on"),
    "height": _field("height"),
    "width": _field("width"),
    "num_inference_steps": _field("num_inference_steps"),
    "sigmas": _field("sigmas"),
    "true_cfg_scale": _field("true_cfg_scale"),
    "strength": _field("strength"),
    "max_sequence_length": _field("max_sequence_length"),
    "decode_timestep": _field("decode_timestep"),
    "decode_noise_scale": _field("decode_noise_scale"),
    "guidance_scale": _provided("guidance_scale"),
    "guidance_scale_2": _provided("guidance_scale_2"),
    "distilled_guidance_scale": _provided("guidance_scale"),
    "num_images_per_prompt": OUTPUTS,
    "num_videos_per_prompt": OUTPUTS,
    "num_waveforms_per_prompt": OUTPUTS,
    "num_frames": FRAMES,
    "frames": FRAMES,
    "video_length": FRAMES,
    "fps": _field("fps"),
    "frame_rate": Binding(
        f"{_RATE} if {_RATE} is not None else {{default}}", "shared", "field frame_rate, else fps; None means omitted"
    ),
    "guidance_rescale": _always("guidance_rescale", "0.0"),
    "eta": _always("eta", "0.0"),
    "layers": _always("layers", "4"),
    "resolution": _always("resolution", "640"),
    "audio_latents": Binding("params.audio_latents", "request", "field audio_latents"),
    "image_latents": Binding("params.image_latent", "request", "field image_latent"),
    "seed": Binding("params.extra_args.get({name!r}, {default})", "extra", "the field seed is random if omitted"),
    "timesteps": Binding("params.timesteps", "request", "field timesteps"),
    "generator": Binding(
        _GENERATOR,
        "prompt",
        "one request draws as the reference does; in a batch each request keeps its own generator",
    ),
    "latents": Binding('req.collate_request_tensors("latents", None)', "prompt", "field latents of each request"),
}

#: What stands for an output type that the request leaves out, by the reference's default.
OUTPUT_TYPE = Binding("params.output_type or {default}", "shared", "field output_type")
ENGINE_OUTPUT_TYPE = Binding(
    "params.output_type or self.od_config.output_type", "shared", "field output_type, else the engine's own"
)

#: Prompt fields that are tensors: one tensor without batch dimension for each prompt.
PROMPT_TENSORS = re.compile(r"(\w+_)?(embeds|embeds_mask|attention_mask)(_\w+)?\Z")
PROMPT_TENSOR = Binding(
    'req.collate_prompt_fields(req.prompts, "{name}", None)',
    "prompt",
    "field of the prompt, or of its additional_information",
)

PROMPT_LIST = Binding(
    '[v for p in req.prompts if (v := req.get_prompt_field(p, "{name}")) is not None] or None',
    "prompt",
    "a list with the field of each prompt",
)

#: Latents are tensors that a request may bring along; none but the ones in BINDINGS has a field.
LATENTS = re.compile(r"(\w+_)?latents\Z")

#: Parameters that hold media, if their annotation says so.
MEDIA = re.compile(r"(\w+_)?(image|images|video|audio|mask|waveforms|controls)(_reference)?\Z")
MEDIA_TYPES = frozenset({"PipelineImageInput", "PipelineMaskInput", "Image", "ndarray", "Tensor", "FloatTensor"})

#: Media of a request by the name that vLLM-Omni's front ends fill; the first parameter that matches takes it, each
#: other one comes under its own name.
MEDIA_KEYS: Mapping[str, re.Pattern[str]] = {
    "image": re.compile(r"(image|images|input_images|image_reference|reference_images|ref_image|cond_image)\Z"),
    "mask_image": re.compile(r"mask_image\Z"),
    "video": re.compile(r"video\Z"),
    "audio": re.compile(r"(audio|src_audio|initial_audio_waveforms)\Z"),
}
MEDIUM = Binding('media.get("{key}", {default})', "request", "multi_modal_data of the prompt")
#: The same for pipelines that take pictures in lists only: vLLM-Omni's front ends give one picture as itself.
MEDIA_LIST = Binding(
    'one if isinstance(one := media.get("{key}"), list | None) else [one]',
    "request",
    "multi_modal_data of the prompt; one picture as a list of one",
    only="None",
)

EXTRA = Binding("params.extra_args.get({name!r}, {default})", "extra", "no field of its own: an extra argument")

#: Methods that cannot work on the one frame of the engine's start-up request, which no check says: method -> why.
NEEDS_FRAMES = {
    "generate_timestep_matrix": ("prefix_video_latents_frames", "the given picture is the one frame: no step is left"),
}

#: Parameters without a counterpart: pattern, the value they are bound to, why.
DROPPED_ARGUMENTS: tuple[tuple[re.Pattern[str], Any, str], ...] = (
    (re.compile(r"callback_steps\Z"), 1, "no callbacks: a request crosses processes"),
    (re.compile(r"callback\w*\Z"), None, "no callbacks: a request crosses processes"),
    (re.compile(r"return_dict\Z"), True, "the port returns a DiffusionOutput"),
    (re.compile(r"\w*ip_adapter_\w+\Z"), None, "IP-adapter: the target loads no IP-adapter"),
    (
        re.compile(r"(joint_|cross_)?attention_kwargs\Z"),
        None,
        "carries LoRA scale and processor arguments; vLLM-Omni applies LoRA in its own manager",
    ),
)

#: Names and attributes that are decided: value, why.
DECIDED_VALUES: dict[str, tuple[Any, str]] = {
    "XLA_AVAILABLE": (False, "device code belongs to vLLM's platform layer"),
    "USE_PEFT_BACKEND": (False, "LoRA belongs to vLLM-Omni's manager"),
    "self.interrupt": (False, "interrupting is the engine's, which aborts requests"),
    "self.transformer.is_cache_enabled": (False, "caches belong to the engine"),
    "self._interrupt": (False, "interrupting is the engine's, which aborts requests"),
}

DECIDED_CALLS: dict[str, tuple[Any, str]] = {
    "torch.backends.mps.is_available": (False, "device code belongs to vLLM's platform layer"),
    "is_torch_xla_available": (False, "device code belongs to vLLM's platform layer"),
}

#: Calls that go where they stand as statements.
REMOVED_CALLS: dict[str, str] = {
    "self.maybe_free_model_hooks": "offloading belongs to the engine",
    "xm.mark_step": "device code belongs to vLLM's platform layer",
    "deprecate": "a port has no deprecated way to call it",
}

#: Context managers that go, their body staying (last part of the function's name).
UNWRAPPED: dict[str, str] = {"cache_context": "the engine's caches tell the branches apart by their order"}

#: Arguments of denoisers that no port takes: they must be None.
NOT_PORTED: dict[str, str] = {
    "sparse_params": "block masks of sparse attention are made for flex attention, which this port does not call",
}

#: Buffers that vLLM's ``AutoWeightsLoader`` drops wherever they stand, as remains of other frameworks' checkpoints.
LOADER_DROPS = ("rotary_pos_emb.inv_freq", "rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")

#: Methods of models that exchange the attention processors of a denoiser.
SWAPPING_CALLS = frozenset({"set_processor", "set_attn_processor"})

#: Attributes that hold attention arguments: they go with the parameter of the same name.
ATTENTION_ARGUMENTS = re.compile(r"self\._?(joint_|cross_)?attention_kwargs\Z")

#: Functions that ask an object for something, that name it, and hooks of guiders, which no port has.
HARMLESS = frozenset(
    {"getattr", "hasattr", "isinstance", "type", "register_modules", "prepare_models", "cleanup_models"}
)
