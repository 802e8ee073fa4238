"""``cache``: cache-dit changes nothing at threshold 0, and reuses steps at a large one."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn

from omniport.verify.meter import block_lists
from omniport.verify.proofs import PARITY, Pipeline, Proof, Subject, distance, run, unequal

STEPS = 4
WARMUP = 2
LOOSE = 1e6  # larger than any difference between two steps


def prove(subject: Subject) -> Proof:
    """Run some steps: without a cache, with threshold 0, with one that always hits, and one step again and again."""
    model = subject.build()
    name, first = next(iter(subject.calls.items()))
    steps = [_moved(first, step) for step in range(STEPS)]
    expected = [run(model, inputs) for inputs in steps]
    try:
        exact, hits, _ = _cached(subject.build(), 0.0, steps)
    except Exception as failure:  # streams in another order have other shapes
        message = " ".join(str(failure).split())[:300]
        return Proof(float("inf"), (f"with cache-dit {name} fails: {type(failure).__name__}: {message}",), "")
    problems: list[str] = []
    worst = max(distance(got, want) for got, want in zip(exact, expected, strict=True))
    problems += unequal(f"threshold 0, {name}", worst)
    if any(hits.values()):
        problems.append(f"threshold 0 reused steps: {hits}")
    loose, hits, computed = _cached(subject.build(), LOOSE, steps)
    wanted = list(range(WARMUP, STEPS))
    if wrong := {list_: got for list_, got in hits.items() if got != wanted}:
        problems.append(f"a threshold that always hits reused steps {wrong}, not {wanted}")
    off = distance(loose[WARMUP], expected[WARMUP])
    if not 0 < off < float("inf"):
        problems.append("a reused step gives what a computed one gives: the cache does not act")
    same, _, _ = _cached(subject.build(), LOOSE, [first] * (WARMUP + 1))
    error = distance(same[WARMUP], expected[0])
    if not error <= PARITY:
        problems.append(f"a step like the one before it, reused, is off by {error:.1e}: something is not restored")
    full, reused = computed[0], computed[WARMUP]
    if not reused < full:
        problems.append(f"a reused step computes {reused} of {full} blocks")
    detail = f"{len(hits)} lists, a reused step computes {reused} of {full} blocks and is off by {off:.0e}"
    return Proof(worst, tuple(problems), detail)


def _cached(
    model: nn.Module, threshold: float, steps: list[dict[str, Any]]
) -> tuple[list[list[torch.Tensor]], dict[str, list[int]], list[int]]:
    """Outputs of all steps, which steps were reused by list of blocks, and how many blocks each step computed."""
    from vllm_omni.diffusion.cache.cachedit import CacheDiTBackend

    counts = [0]

    def count(module: nn.Module, args: Any, output: Any) -> None:
        counts[0] += 1

    for block in itertools.chain(*(getattr(model, name) for name in block_lists(model))):
        block.register_forward_hook(count)
    pipeline = Pipeline(model)
    settings = {"residual_diff_threshold": threshold, "max_warmup_steps": WARMUP, "max_continuous_cached_steps": STEPS}
    backend = CacheDiTBackend(settings)
    backend.enable(pipeline)
    separate = bool(getattr(type(model)._cache_dit_adapter_config, "has_separate_cfg", False))  # type: ignore[attr-defined]
    backend.refresh(pipeline, len(steps), verbose=False)
    outputs, computed = [], []
    for inputs in steps:
        before = counts[0]
        outputs.append(run(model, inputs))
        if separate:
            run(model, inputs)
        computed.append(counts[0] - before)
    manager: Any = model._context_manager
    contexts = {name: manager.get_context(name) for name in list(model._context_names)}  # type: ignore[arg-type]
    # A list that this call does not run has no steps.
    hits = {n: list(c.get_cached_steps()) for n, c in contexts.items() if c.get_current_transformer_step() >= 0}
    return outputs, {name.rpartition("_")[0] or name: got for name, got in hits.items()}, computed


def _moved(inputs: dict[str, Any], step: int) -> dict[str, Any]:
    """The inputs of another step: floating tensors a little further, as latents and times are."""
    return {key: _scaled(value, 1.0 + 0.01 * step) if step else value for key, value in inputs.items()}


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, torch.Tensor):
        return value * factor if value.is_floating_point() else value
    return type(value)(_scaled(item, factor) for item in value) if isinstance(value, list | tuple) else value
