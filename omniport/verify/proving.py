"""The children's work for what :mod:`omniport.verify.proofs` proves, and for runs of the pipeline with options."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.verify import checkpoint, engine, over_stages, tasks
from omniport.verify.away import offloaded
from omniport.verify.forks import Rank
from omniport.verify.port import Port
from omniport.verify.proofs import Proof, Subject
from omniport.verify.requests import run_call


def prove(
    port: Port, work: Path, rank: Rank, name: str, parallel: dict[str, Any], part: tuple[int, int] | None = None
) -> Proof:
    """One proof of the port's transformer with the tiny checkpoint, on this rank.

    ``part``: of a proof that can be made in parts, which one and of how many.
    """
    torch.set_num_threads(1)
    folder = tasks.saved(work, "checkpoint")
    config = engine.make_config(port, folder, rank, parallel)
    weights = engine.checkpoint_weights(folder, checkpoint.transformer_component(port))

    def build_with(tensors: dict[str, torch.Tensor]) -> nn.Module:
        with torch.no_grad():
            model = engine.build_transformer(port, config)
            model.load_weights(iter(tensors.items()))  # type: ignore[operator]
            engine.finish_loading(model)
        return model

    def expected(call: str) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = torch.load(tasks.saved(work, "outputs"))[call]
        return outputs

    with engine.bare_worker(config, rank):
        subject = Subject(build_with, weights, tasks.port_inputs(port, work), config, expected)
        prove_it = importlib.import_module(f"omniport.verify.proofs.{name}").prove
        proof: Proof = prove_it(subject) if part is None else prove_it(subject, part)
        return proof


def separate_cfg(port: Port) -> bool | None:
    """Whether the port tells cache-dit that a step makes two forwards; None if it tells nothing."""
    declared = getattr(engine.transformer_class(port), "_cache_dit_adapter_config", None)
    return None if declared is None else bool(declared.has_separate_cfg)


def run_with(port: Port, work: Path, rank: Rank, options: dict[str, Any], name: str, keep: str) -> dict[str, Any]:
    """Run the port's pipeline on one case with more options of the engine; latents are saved as ``keep``.

    Returns:
        ``forwards`` of the transformer, hooks of model-level offload that ``fired`` by class of module, what ran
        ``away`` from its weights then, and the steps that cache-dit ``reused`` by list of blocks.
    """
    from vllm_omni.diffusion.offloader.sequential_backend import SequentialOffloadHook

    torch.set_num_threads(1)
    fired: Counter[str] = Counter()
    inner = SequentialOffloadHook.pre_forward

    def pre_forward(self: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        fired[type(module).__name__] += 1
        return inner(self, module, *args, **kwargs)

    SequentialOffloadHook.pre_forward = pre_forward
    config, worker = tasks.start_pipeline(port, work, rank, {}, options)
    pipeline = worker.worker.model_runner.pipeline
    transformer = getattr(pipeline, checkpoint.transformer_component(port))
    calls, parameters = tasks.pipeline_calls(port)
    with offloaded(pipeline, worker.worker.model_runner.offload_backend) as away:
        form = tasks.compared_form(work)
        reading, latents = tasks.measured(port, worker, config, calls[name], parameters, form)
    torch.save({name: latents}, work / keep)
    manager = getattr(transformer, "_context_manager", None)
    contexts = {n: manager.get_context(n) for n in getattr(transformer, "_context_names", ())} if manager else {}
    reused = {n: list(c.get_cached_steps()) for n, c in contexts.items()}
    return {"forwards": reading["forwards"], "fired": dict(fired), "away": list(away.faults), "reused": reused}


def refusals(
    port: Port, work: Path, rank: Rank, options: dict[str, Any], name: str, changed: dict[str, Any]
) -> dict[str, str]:
    """What a request raises that gives one of ``changed``, by argument; "" if it is served."""
    torch.set_num_threads(1)
    config, worker = tasks.start_pipeline(port, work, rank, {}, options)
    calls, parameters = tasks.pipeline_calls(port)
    raised: dict[str, str] = {}
    for argument, value in changed.items():
        call = replace(calls[name], arguments={**calls[name].arguments, argument: value})
        try:
            run_call(worker, config, call, parameters)
        except Exception as error:
            raised[argument] = f"{type(error).__name__}: {error}"
        else:
            raised[argument] = ""
    return raised


def stage(port: Port, work: Path, rank: Rank, parallel: dict[str, Any], expected: str) -> Proof:
    """The stage of this rank on the saved inputs, against the outputs of one rank that are kept as ``expected``."""
    torch.set_num_threads(1)
    folder = tasks.saved(work, "checkpoint")
    config = engine.make_config(port, folder, rank, parallel)
    weights = engine.checkpoint_weights(folder, checkpoint.transformer_component(port))
    with engine.bare_worker(config, rank):
        with torch.no_grad():
            model = engine.build_transformer(port, config)
            model.load_weights(iter(weights.items()))  # type: ignore[operator]
            engine.finish_loading(model)
        return over_stages.prove(model, tasks.port_inputs(port, work), torch.load(work / expected))
