"""Import, load and compare one pipeline with diffusers in vLLM-Omni's worker.  Runs in forked children."""

from __future__ import annotations

import importlib
import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from omniport.corpus.results import OWN_FAULT, StageError, StageResult
from omniport.errors import OmniportError
from omniport.verify import engine, trace
from omniport.verify.calls import SEVERAL, Call, calls_for, request, run_reference
from omniport.verify.components.build import Builder, build_pipeline
from omniport.verify.forks import Rank, place_of
from omniport.verify.loading import load_reference
from omniport.verify.pipelines import RECIPES, Recipe
from omniport.verify.port import Port
from omniport.verify.repairs import repair
from omniport.verify.requests import run_batch

LATENTS = trace.LIMIT
"""Largest relative error of latents and of every tensor at every scheduler step, fp32 against fp32."""

OUTPUT = 1e-3
"""Largest difference of images, video and audio, of full scale."""

DISTINCT = 1e-3
"""A call whose reference is closer than this to ``base`` shows nothing that ``base`` does not show."""

NOT_RUN = "not run: "
"""In a reason: the harness or the reference failed, which says nothing about the port."""


@dataclass(frozen=True)
class Job:
    """One pipeline: the port's module, the reference's class and its components; ``recipe`` is the recipe's key,
    ``features`` the stages beyond those of one rank.  ``old_name``: what the pipeline was asked for by, where that only
    stands for the reference's class."""

    key: str
    name: str
    recipe: str
    module: str
    entries: dict[str, Any]
    features: tuple[str, ...]
    post_process: str | None = None
    old_name: str = ""

    def port(self, root: Path) -> Port:
        """The port as the verifier knows ports."""
        return Port(
            root=root,
            manifest_path=root / "none",
            name=self.name,
            kind="plugin",  # not in the tree's registry, so it registers itself as a plugin does
            paths=(root,),
            architecture=f"Corpus{self.name}",
            pipeline_module=self.module,
            pipeline_class=self.name,
            transformer_module="",
            transformer_class="",
            reference_pipeline=f"diffusers.{self.name}",
            reference_transformer="",
            pre_process=None,
            post_process=self.post_process,
            model_index={},
            configs={},
            files=(),
        )

    @property
    def components(self) -> dict[str, tuple[str, str] | None]:
        """Component -> (library, class)."""
        return {n: tuple(e) if e is not None else None for n, e in self.entries.items()}


@dataclass
class Run:
    """What one side made of a call: the scheduler's steps, and the tensors of the output."""

    steps: list[trace.Step] = field(default_factory=list)
    output: list[torch.Tensor] = field(default_factory=list)
    forwards: int = 0
    skipped: str = ""


def one_rank(job: Job, root: Path, work: Path, rank: Rank, done: Callable[[StageResult], None]) -> None:
    """Import, load and compare on one rank; ``done`` gets each stage as it ends."""
    torch.set_num_threads(1)
    try:
        _one_rank(job, root, work, rank, done)
    except StageError:
        return


def _one_rank(job: Job, root: Path, work: Path, rank: Rank, done: Callable[[StageResult], None]) -> None:
    port, recipe = job.port(root), RECIPES.get(job.recipe, Recipe())
    folder = work / f"{job.key}.checkpoint"
    with _stage("import", done):
        importlib.import_module(job.module)
    with _stage("load", done) as said:
        cls = reference_class(job)
        with _the_references_own(cls):
            build_pipeline(cls, job.components, recipe, folder)
        worker, config = worker_of(port, recipe, folder, rank, {})
        parameters = sum(p.numel() for m in denoisers(worker) for p in m.parameters())
        said["detail"] = f"{parameters} parameters of the denoisers"
    with _stage("e2e", done) as said:
        signature = inspect.signature(cls.__call__)
        with _the_references_own(cls):
            reference, apart = load_reference(cls, folder)
            reference.set_progress_bar_config(disable=True)
            repair(recipe.repairs, reference)
            calls = calls_for(signature, recipe)
        expected = {call.name: _reference_run(reference, call) for call in calls}
        torch.save({k: (v.steps, v.output, v.forwards) for k, v in expected.items()}, work / f"{job.key}.reference")
        problems, details, worst = [], [t for t in (apart, old_name(job, recipe)) if t], 0.0
        for call in calls:
            if expected[call.name].skipped:
                details.append(f"{call.name} not run: {expected[call.name].skipped}")
                continue
            if call.name == SEVERAL and makes_one(expected):
                details.append(f"{call.name}: the reference makes one, the port refuses others")
                problems += unrefused(partial(port_run, worker, config, call, signature))
                continue
            got = port_run(worker, config, call, signature)
            if call.name == "base":
                (work / f"{job.key}.forwards").write_text(str(got.forwards))
            if got.skipped:
                details.append(f"{call.name} not run: {got.skipped}")
                continue
            error, fault = judged(got, expected[call.name], call)
            worst = max(worst, error)
            details.append(f"{call.name} {error:.1e}")
            if fault:
                problems.append(f"{call.name}: {fault}")
        details += _alike(expected)
        said |= {"figure": worst, "detail": "; ".join(details)}
        if problems:
            raise StageError("; ".join(problems))


def worker_of(
    port: Port,
    recipe: Recipe,
    folder: Path,
    rank: Rank,
    parallel: dict[str, int],
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, Any]:
    """vLLM-Omni's worker with the port loaded, and its config."""
    engine.register(port)
    config = engine.make_config(port, folder, rank, parallel)
    config.dtype = dtype
    config.vae_use_tiling = "vae tiling" in recipe.repairs  # read at each request
    worker = engine.build_worker(config, rank)
    repair(recipe.repairs, worker.worker.model_runner.pipeline)
    return worker, config


def _reference_run(pipeline: Any, call: Call) -> Run:
    schedulers = {type(c) for c in vars(pipeline).values() if hasattr(c, "step") and hasattr(c, "set_timesteps")}
    try:
        with trace.recorded(schedulers) as steps, torch.inference_mode():
            output = trace.tensors_of(run_reference(pipeline, call))
    except Exception as error:
        if call.name == "base":
            raise StageError(f"{NOT_RUN}{OWN_FAULT}{_text(error)}") from error
        return Run(skipped=f"the reference raises {_text(error)[:160]}")
    if not all(torch.isfinite(t.float()).all() for t in output):
        raise StageError(f"{NOT_RUN}the reference's output of {call.name} is not finite")
    return Run(steps, output)


def makes_one(runs: Mapping[str, Run]) -> bool:
    """Whether the reference makes one output where several are asked for."""
    return SEVERAL in runs and [t.shape for t in runs[SEVERAL].output] == [t.shape for t in runs["defaults"].output]


def unrefused(run: Callable[[], Run]) -> list[str]:
    """What is wrong with how a port takes a number of outputs that it cannot make: nothing if it refuses it."""
    try:
        run()
    except ValueError as error:
        return [] if "num_outputs_per_prompt" in str(error) else [f"{SEVERAL}: {_text(error)}"]
    return [f"{SEVERAL}: served with one output, not refused"]


def port_run(worker: Any, config: Any, call: Call, signature: inspect.Signature) -> Run:
    """The port's side of a call."""
    pipeline = worker.worker.model_runner.pipeline
    if len(call.prompts) > 1 and not getattr(pipeline, "supports_request_batch", False):
        return Run(skipped="the port takes one request at a time")
    schedulers = {type(c) for c in vars(pipeline).values() if hasattr(c, "step") and hasattr(c, "set_timesteps")}
    requests = [request(call, i, signature.parameters) for i in range(len(call.prompts))]
    count = [0]
    hooks = [m.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1)) for m in denoisers(worker)]
    torch.manual_seed(requests[0].sampling_params.seed)
    try:
        with trace.recorded(schedulers) as steps:
            if len(requests) == 1:
                output = _final(worker.execute_model(requests[0], config), config, call, requests[0].sampling_params)
            else:
                parts = [
                    _final(o.result, config, call, r.sampling_params)
                    for o, r in zip(run_batch(worker, requests, config).runner_outputs, requests, strict=True)
                ]
                output = [torch.cat(group) for group in zip(*parts, strict=True)]
    finally:
        for hook in hooks:
            hook.remove()
    return Run(steps, output, count[0])


def _final(answer: Any, config: Any, call: Call, sampling: Any) -> list[torch.Tensor]:
    """The tensors of an answer, after the port's own post-processing where the call asks for the decoded output."""
    from vllm_omni.diffusion.registry import get_diffusion_post_process_func

    if answer.error:
        raise StageError(f"the worker answered: {answer.error}")
    output = answer.output
    function = None if call.latent else get_diffusion_post_process_func(config)
    if function is not None:
        output = function(output, sampling_params=sampling)
        if isinstance(output, dict) and "payload" in output:
            output = output["payload"]
    return trace.tensors_of(output)


def judged(got: Run, expected: Run, call: Call) -> tuple[float, str]:
    """The largest error of a call, and what is wrong with it."""
    apart = len(call.prompts) > 1 and len(got.steps) == len(call.prompts) * len(expected.steps)
    # Requests that a port runs one after the other have steps of their own; their outputs are compared.
    error, where = (0.0, "") if apart else trace.compare_steps(got.steps, expected.steps)
    if not error <= LATENTS:
        return error, f"{where}: {error:.1e} from diffusers"
    if call.latent:
        final, fault = _latents(got.output, expected.output)
        limit = LATENTS
    else:
        final, fault = trace.compare_outputs(got.output, expected.output)
        limit = OUTPUT
    if fault or not final <= limit:
        return final, fault or f"the output is {final:.1e} from diffusers"
    return max(error, final), ""


def _latents(got: list[torch.Tensor], expected: list[torch.Tensor]) -> tuple[float, str]:
    if [t.shape for t in got] != [t.shape for t in expected]:
        return float("inf"), f"shapes {[list(t.shape) for t in got]} instead of {[list(t.shape) for t in expected]}"
    return max((engine.relative_error(a.float(), b.float()) for a, b in zip(got, expected, strict=True)), default=0), ""


def _alike(runs: dict[str, Run]) -> list[str]:
    """Calls whose scheduler steps are those of ``base``: they show nothing of their own."""
    found = []
    base = runs["base"]
    for name, run in runs.items():
        if name != "base" and not run.skipped and run.steps:
            error, _ = trace.compare_steps(run.steps, base.steps)
            if error < DISTINCT:
                found.append(f"{name} equals base in the reference, shows nothing")
    return found


def two_ranks(job: Job, root: Path, work: Path, rank: Rank, feature: str) -> dict[str, Any]:
    """``cfg2``: the call ``base`` on two ranks against the reference, with half of the forwards on each."""
    torch.set_num_threads(1)
    port, recipe = job.port(root), RECIPES.get(job.recipe, Recipe())
    worker, config = worker_of(port, recipe, work / f"{job.key}.checkpoint", rank, {"cfg_parallel_size": 2})
    signature = inspect.signature(reference_class(job).__call__)
    call = calls_for(signature, recipe)[0]
    got = port_run(worker, config, call, signature)
    steps, output, _ = torch.load(work / f"{job.key}.reference", weights_only=False)[call.name]
    error, fault = judged(got, Run(steps, output), call)
    return {"figure": error, "reason": fault, "forwards": got.forwards, "steps": len(got.steps), "detail": ""}


def denoisers(worker: Any) -> list[Any]:
    pipeline = worker.worker.model_runner.pipeline
    return [m for n in pipeline._dit_modules if (m := getattr(pipeline, n, None)) is not None]


def reference_class(job: Job) -> Any:
    """The class of diffusers that the port is compared with."""
    import diffusers

    return getattr(diffusers, job.name)


@contextmanager
def _the_references_own(cls: Any) -> Iterator[None]:
    """Errors of the harness, and of ``cls`` itself, are told apart from those of a port, and from each other."""
    try:
        yield
    except StageError:
        raise
    except OmniportError as error:
        raise StageError(f"{NOT_RUN}{error}") from error
    except Exception as error:
        own = any(f.f_globals.get("__name__") == cls.__module__ for f, _ in traceback.walk_tb(error.__traceback__))
        raise StageError(f"{NOT_RUN}{OWN_FAULT if own else 'no checkpoint: '}{_text(error)}") from error


def reference_alone(job: Job, work: Path) -> dict[str, str]:
    """Whether diffusers' own class does the call ``base`` on tiny components: ``reason`` is why not, if it does not."""
    torch.set_num_threads(1)
    recipe, cls = RECIPES.get(job.recipe, Recipe()), reference_class(job)
    folder = work / f"{job.key}.checkpoint"
    try:
        with _the_references_own(cls):
            build_pipeline(cls, job.components, recipe, folder)
            reference, _ = load_reference(cls, folder)
            reference.set_progress_bar_config(disable=True)
            repair(recipe.repairs, reference)
        _reference_run(reference, calls_for(inspect.signature(cls.__call__), recipe)[0])
    except StageError as error:
        return {"reason": str(error).removeprefix(NOT_RUN)}
    return {"reason": ""}


def old_name(job: Job, recipe: Recipe) -> str:
    """Where the pipeline was asked for by an old name: what that stands for, and whether diffusers still takes it."""
    if not job.old_name:
        return ""
    import diffusers

    says = f"{job.old_name} is an old name of {job.name}, which it is compared with"
    cls = getattr(diffusers, job.old_name)
    components = Builder(cls, job.components, recipe).all()
    try:
        cls(**{n: c for n, c in components.items() if n in inspect.signature(cls.__init__).parameters})
    except Exception as error:
        says += f"; {OWN_FAULT}{' '.join(f'{type(error).__name__}: {error}'.replace(';', ',').split())[:200]}"
    return says


@contextmanager
def _stage(name: str, done: Callable[[StageResult], None]) -> Iterator[dict[str, Any]]:
    """The body fills ``detail`` and ``figure``; what it raises becomes the stage's reason."""
    said: dict[str, Any] = {"detail": "", "figure": None}
    started = time.monotonic()
    try:
        yield said
    except Exception as error:
        reason = str(error) if isinstance(error, StageError) else _text(error)
        done(StageResult(name, "failed", reason[:600], said["detail"], said["figure"], _since(started)))
        raise StageError(reason) from error
    done(StageResult(name, "ok", "", said["detail"], said["figure"], _since(started)))


def _text(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}{place_of(error)}".split())[:500]


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)
