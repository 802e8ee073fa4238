"""``flash``: FlashAttention, the backend that vLLM-Omni takes on GPUs by default, gives the reference's outputs.

SDPA, which every other feature runs with, takes any mask.  FlashAttention takes a mask over keys alone, bool and
``[batch, keys]``, and leaves out the queries that it masks where there are as many of them as keys, but in a layer
whose role is ``cross``.  vLLM-Omni's own code does that here; the kernels alone are plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omniport.verify.forks import place_of
from omniport.verify.proofs import PARITY, Proof, Subject, distance, run

NAME = "FLASH_ATTN"


def prove(subject: Subject) -> Proof:
    """Build the transformer with FlashAttention chosen and compare every call with the reference's outputs."""
    from vllm_omni.diffusion.attention.layer import Attention

    from omniport.verify.cpu import flash

    with chosen(subject.config):
        model = subject.build()
    layers = {path: module for path, module in model.named_modules() if isinstance(module, Attention)}
    if not layers:
        return Proof(None, ("no attention of the port runs in vLLM-Omni's layer",), "")
    problems = [
        f"{path} runs with {layer.attn_backend.get_name()}"
        for path, layer in layers.items()
        if layer.attn_backend is not None and layer.attn_backend.get_name() != NAME
    ]
    calls: list[str] = []
    for path, layer in layers.items():
        layer.register_forward_pre_hook(lambda *_, path=path: calls.append(path))
    before = flash.COUNTS.copy()
    errors: list[float] = []
    for name, inputs in subject.calls.items():
        try:
            error = distance(run(model, inputs), subject.reference(name))
        except Exception as raised:
            said = " ".join(str(raised).split())[:200]
            problems.append(f"{name}: {type(raised).__name__}: {said}{place_of(raised)}")
            continue
        errors.append(error)
        if not error <= PARITY:
            problems.append(f"{name}: relative error {error:.1e} against the reference")
    counts = flash.COUNTS - before
    if not calls:
        problems.append("no call of attention reached vLLM-Omni's layer")
    detail = (
        f"{counts.total()} of {len(calls)} calls of attention run in FlashAttention, {counts['varlen']} with a mask"
    )
    return Proof(max(errors, default=None), tuple(problems), detail)


@contextmanager
def chosen(config: Any) -> Iterator[None]:
    """Layers that are built inside run with FlashAttention, as an operator's ``FLASH_ATTN`` would have it."""
    from vllm_omni.diffusion.data import AttentionConfig, AttentionSpec

    before = config.diffusion_attention_config
    config.diffusion_attention_config = AttentionConfig(default=AttentionSpec(backend=NAME))
    try:
        yield
    finally:
        config.diffusion_attention_config = before
