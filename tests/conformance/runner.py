"""The heavy process of the conformance cases: a sound port and its broken twin, each beside diffusers.

Started by :mod:`tests.conformance.test_hand_ports` as the pipeline corpus starts its own runner.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from omniport.corpus.pipeline_runner import stand_in
from omniport.corpus.pipeline_stages import LATENTS, Job, Run, denoisers, judged, port_run, reference_class, worker_of
from omniport.corpus.results import StageResult
from omniport.corpus.runner import serve
from omniport.verify import trace
from omniport.verify.calls import Call, calls_for, drawn, run_reference
from omniport.verify.components.build import build_pipeline
from omniport.verify.engine import relative_error
from omniport.verify.forks import Rank, RankError, fork_ranks
from omniport.verify.pipelines import RECIPES, Recipe
from omniport.verify.repairs import repair
from tests.conformance.cases import CASES, Case

LIMIT = 120.0  # seconds for one side of a case


def verify(job: dict[str, Any], root: Path, work: Path) -> list[StageResult]:
    """``sound`` and ``twin`` of one case; ok where the port equals diffusers."""
    name = job["key"]
    results = []
    for stage, port in (("sound", job["port"]), ("twin", job["twin"])):

        def side(rank: Rank, stage: str = stage, port: dict[str, Any] = port) -> tuple[float, str]:
            return _compare(CASES[name], Job(**port), root, work, rank, first=stage == "sound")

        try:
            figure, reason = fork_ranks(side, 1, logs=work / "logs", name=f"{port['key']}.{stage}", limit=LIMIT)[0]
        except RankError as error:
            figure, reason = None, " ".join(error.outcome.error.split())[:600]
        results.append(StageResult(stage, "failed" if reason else "ok", reason, figure=figure))
    return results


def _compare(case: Case, job: Job, root: Path, work: Path, rank: Rank, first: bool) -> tuple[float, str]:
    """The error of one port on a case, and what is wrong; the first makes the checkpoint and runs the reference."""
    torch.set_num_threads(1)
    recipe = _recipe(case)
    cls = reference_class(job)
    signature = inspect.signature(cls.__call__)
    folder = work / f"{job.key}.checkpoint"
    kept = work / f"{job.key}.reference"
    call = _call(case, signature, recipe)
    dtype = torch.bfloat16 if case.times else torch.float32
    if first:
        build_pipeline(cls, job.components, recipe, folder)
        reference = cls.from_pretrained(folder, torch_dtype=dtype)
        reference.set_progress_bar_config(disable=True)
        repair(recipe.repairs, reference)
        schedulers = {type(c) for c in vars(reference).values() if hasattr(c, "step") and hasattr(c, "set_timesteps")}
        with _times(reference.transformer) as times, trace.recorded(schedulers) as steps, torch.inference_mode():
            output = trace.tensors_of(run_reference(reference, call))
        torch.save((steps, output, times), kept)
    steps, output, times = torch.load(kept, weights_only=False)
    worker, config = worker_of(job.port(root), recipe, folder, rank, {}, dtype=dtype)
    (denoiser,) = denoisers(worker)
    with _times(denoiser) as ours:
        got = port_run(worker, config, call, signature)
    if got.skipped:
        return float("inf"), got.skipped
    if case.times:
        return _same_times(ours, times)
    return judged(got, Run(steps, output), call)


@contextmanager
def _times(denoiser: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """The times that a denoiser is called with."""
    found: list[torch.Tensor] = []
    hook = denoiser.register_forward_pre_hook(
        lambda _, args, given: found.append(given["timestep"].detach().clone()) if "timestep" in given else None,
        with_kwargs=True,
    )
    try:
        yield found
    finally:
        hook.remove()


def _same_times(got: list[torch.Tensor], expected: list[torch.Tensor]) -> tuple[float, str]:
    """Largest relative error of the times, each side's distinct ones in order: it may call once or twice a step."""
    ours, theirs = (torch.stack([t.flatten()[0].double() for t in side]).unique() for side in (got, expected))
    if ours.shape != theirs.shape:
        return float("inf"), f"{len(ours)} times instead of {len(theirs)}"
    error = relative_error(ours, theirs)
    return error, "" if error <= LATENTS else f"the times are {error:.1e} from diffusers"


def _recipe(case: Case) -> Recipe:
    recipe = RECIPES.get(case.pipeline, Recipe())
    configs = {**recipe.configs, **{n: {**recipe.configs.get(n, {}), **c} for n, c in case.configs.items()}}
    return replace(recipe, configs=configs)


def _call(case: Case, signature: inspect.Signature, recipe: Recipe) -> Call:
    start = next(c for c in calls_for(signature, recipe) if c.name == case.start)
    arguments = {**start.arguments, **({"prompt": case.prompts[0]} if case.prompts else {}), **dict(case.changes)}
    arguments = {k: drawn(v) for k, v in arguments.items() if v is not None}
    return Call("case", arguments, case.prompts or start.prompts, latent=not case.decoded)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), verify, stand_in)
