"""What holds for every reference transformer, as data with reasons.  Nothing here names a model."""

from __future__ import annotations

import re
from typing import Any

#: Forward parameters that a port leaves out: pattern, the value they are bound to, why.
DROPPED_PARAMETERS: tuple[tuple[re.Pattern[str], Any, str], ...] = (
    (
        re.compile(r"(joint_|cross_)?attention_kwargs\Z"),
        None,
        "carries LoRA scale and processor arguments; vLLM-Omni applies LoRA in its own manager",
    ),
    (
        re.compile(r"(block_)?controlnet_\w+|controlnet\w*_(samples|states)\Z"),
        None,
        "ControlNet residuals: the target has no ControlNet",
    ),
    (re.compile(r"ip_adapter_\w+|ip_hidden_states\Z"), None, "IP-adapter: the target loads no IP-adapter"),
    (
        re.compile(r"kv_caches?(_\w+)?\Z"),
        None,
        "cache of reference tokens between calls: kept by the caller, and filled by calls that mask differently",
    ),
    (
        re.compile(r"sparse_params\Z"),
        None,
        "block masks of sparse attention: made for flex attention, which vLLM-Omni's layer does not call",
    ),
)

#: Calls that are decided on every machine a port runs on: dotted name -> value, why.
DECIDED_CALLS: dict[str, tuple[Any, str]] = {
    "torch.is_grad_enabled": (False, "inference only"),
    "torch.jit.is_scripting": (False, "never scripted"),
    "is_torch_npu_available": (False, "device code belongs to vLLM's platform layer"),
    "is_torch_xla_available": (False, "device code belongs to vLLM's platform layer"),
    "is_xformers_available": (False, "attention backends belong to vLLM-Omni"),
    "_is_flash_attention_backend": (False, "the mask is always made; a backend without masks is vLLM-Omni's to refuse"),
}

#: Names that are decided likewise.
DECIDED_NAMES: dict[str, tuple[Any, str]] = {
    "USE_PEFT_BACKEND": (False, "LoRA belongs to vLLM-Omni's manager"),
    "XLA_AVAILABLE": (False, "device code belongs to vLLM's platform layer"),
    "_FLASH_ATTENTION_BACKENDS": ((), "diffusers' backends are not used: vLLM-Omni's layer chooses its own"),
}

#: Attributes of the module itself that are decided: set by training or by optional loaders only.
DECIDED_ATTRIBUTES: dict[str, tuple[Any, str]] = {
    "training": (False, "inference only"),
    "gradient_checkpointing": (False, "inference only"),
    "fused_projections": (False, "projections are fused by the parallel layers"),
    "encoder_hid_proj": (None, "IP-adapter: the target loads no IP-adapter"),
}

#: The lowest torch that the target runs on: decides ``is_torch_version`` conditions.
TORCH = "2.9"

#: Decorators that add nothing at inference.
DROPPED_DECORATORS = frozenset({"register_to_config", "apply_lora_scale", "maybe_allow_in_graph", "torch.no_grad"})

#: Bases that give a transformer nothing the target uses.
DROPPED_BASES = re.compile(r"\w*(Mixin|ModelMixin)\Z")

#: Modules whose classes stay imported although they hold linears: file suffix -> why.
IMPORTED: dict[str, str] = {
    ".embeddings": "conditioning embedder: runs once a step on pooled vectors, kept whole and in full precision",
}

#: Bases of ``nn`` whose calls are pure construction.
CONTAINERS = frozenset({"nn.ModuleList", "torch.nn.ModuleList"})

#: Keyword arguments that say nothing: call -> argument -> the values that are its default (``...``: any value).
DEFAULTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "dispatch_attention_fn": {
        "backend": (...,),
        "parallel_config": (...,),
        "attn_mask": (None,),
        "dropout_p": (0.0,),
        "is_causal": (False,),
    },
    "nn.Linear": {"bias": (True,)},
    "nn.RMSNorm": {"elementwise_affine": (True,)},
    "nn.LayerNorm": {"elementwise_affine": (True,), "bias": (True,)},
}

#: Words that mark a branch which only serves a deprecated way to call.
DEPRECATION = re.compile(r"\bdeprecated\b", re.I)
