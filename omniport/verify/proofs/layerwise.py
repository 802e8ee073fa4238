"""``layerwise``: vLLM-Omni's layerwise offload keeps one block of each ring on the device, and the result."""

from __future__ import annotations

import torch
from torch import nn

from omniport.verify.proofs import Pipeline, Proof, Subject, distance, run, unequal


def prove(subject: Subject) -> Proof:
    """Enable the backend, run every call twice, and count hooks that fired and elements that stay."""
    from vllm_omni.diffusion.offloader.base import OffloadConfig
    from vllm_omni.diffusion.offloader.config import OffloadStrategy
    from vllm_omni.diffusion.offloader.layerwise_backend import LayerWiseOffloadBackend

    fired: list[nn.Module] = []

    model = subject.build()
    expected = {name: run(model, inputs) for name, inputs in subject.calls.items()}
    whole = _resident(model)
    largest = max((_resident(block) for block in _blocks(model)), default=0)
    outside = whole - sum(_resident(block) for block in _blocks(model))
    settings = OffloadConfig(strategy=OffloadStrategy.LAYER_WISE, pin_cpu_memory=False)
    backend = LayerWiseOffloadBackend(settings, torch.device("cpu"))
    backend.enable(Pipeline(model))
    hooks = list(backend._dit_hooks)
    if not hooks:
        return Proof(None, ("vLLM-Omni found no blocks to offload",), "")
    for block in backend._hooked_dit_blocks:
        block.register_forward_hook(lambda module, args, output: fired.append(module))
    problems: list[str] = []
    worst = 0.0
    for name, inputs in [*subject.calls.items()] * 2:
        error = distance(run(model, inputs), expected[name])
        worst = max(worst, error)
        problems += unequal(name, error)
    stay = _resident(model)
    if not stay < whole:
        problems.append(f"all {whole} elements stay on the device")
    ran = len({id(block) for block in fired})
    if ran < 2:
        problems.append(f"{ran} of {len(hooks)} hooked blocks ran")
    detail = f"{ran} of {len(hooks)} hooked blocks ran, {stay} of {whole} elements stay on the device"
    if stay > outside + 2 * largest:
        detail += f", more than two blocks of {largest} and {outside} outside of them"
    return Proof(worst, tuple(dict.fromkeys(problems)), detail)


def _blocks(model: nn.Module) -> list[nn.Module]:
    names = getattr(type(model), "_layerwise_offload_blocks_attrs", [])
    return [block for name in names for block in getattr(model, name)]


def _resident(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
