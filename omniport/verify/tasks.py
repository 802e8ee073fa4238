"""The work that forked children do for the features: everything that touches torch, the reference or the port."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from omniport.errors import OmniportError
from omniport.target.manifest import load
from omniport.verify import block_outputs, checkpoint, engine, module_tree, trace
from omniport.verify.calls import SEVERAL, Call, calls_for, run_reference
from omniport.verify.cases import BASE, SEED
from omniport.verify.components.build import recipe_of
from omniport.verify.forks import Rank, place_of
from omniport.verify.inputs import plainly, taken_by
from omniport.verify.layer_weights import layer_weights, planned_whole
from omniport.verify.loading import load_reference
from omniport.verify.meter import Meter, block_parameters
from omniport.verify.port import Port
from omniport.verify.repairs import repair
from omniport.verify.requests import run_call

DISTURBANCE = 1e-5
"""Relative size of the noise by which it is measured what a run makes of an error of its transformer."""

DECODED = {f"{BASE}: decoded": "np", f"{BASE}: file": "pil"}
"""What is compared of a decoded output -> the output type that is asked for; files of pictures alone.

Where the form of comparison is one of these types, the call itself shows it: see :func:`compared_form`."""

_SAVED = {
    "checkpoint": "checkpoint",
    "inputs": "inputs.pt",
    "outputs": "outputs.reference.pt",
    "images": "images.reference.pt",
    "blocks": "blocks.reference.pt",
    "form": "form.txt",
}


def saved(work: Path, what: str) -> Path:
    """Where a result that other children read is kept below ``work``."""
    return work / _SAVED[what]


@contextmanager
def the_references_own(what: str) -> Iterator[None]:
    """Turn an exception inside into a refusal: the reference failed, which says nothing about the port."""
    try:
        yield
    except OmniportError:
        raise
    except Exception as error:
        raise OmniportError(
            f"{what} fails without the port: {type(error).__name__}: {error}{place_of(error)}"
        ) from error


def flatten_output(output: Any) -> list[torch.Tensor]:
    """Every tensor of an output, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return [t for item in output if item is not None for t in flatten_output(item)]


def run_transformer(
    port: Port,
    work: Path,
    rank: Rank,
    parallel: dict[str, Any],
    names: tuple[str, ...],
    keep: str,
    published: bool = False,
    without: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run the port's transformer on the saved inputs of the named calls under ``parallel``, but those in ``without``.

    Rank 0 saves its outputs as ``keep``.

    Returns:
        one reading per call, whether vLLM-Omni applied a sequence-parallel plan, the order in which the transformer's
        children were first called, what the rank holds of the ``layers`` that the plan shares out, and, with
        ``published``, what it holds at published size.
    """
    torch.set_num_threads(1)
    folder = saved(work, "checkpoint")
    config = engine.make_config(port, folder, rank, parallel)
    readings: dict[str, Any] = {}
    outputs: dict[str, list[torch.Tensor]] = {}
    blocks: block_outputs.Outputs = {}
    with engine.bare_worker(config, rank), torch.inference_mode():
        model = engine.build_transformer(port, config)
        model.load_weights(iter(engine.checkpoint_weights(folder, checkpoint.transformer_component(port)).items()))  # type: ignore[operator]
        engine.finish_loading(model)
        planned = config.parallel_config.sequence_parallel_size > 1 and engine.apply_sequence_parallel(model, config)
        saved_inputs = port_inputs(port, work)
        with module_tree.first_calls(model) as order:
            for name in (name for name in names if name in saved_inputs):
                inputs = {key: value for key, value in saved_inputs[name].items() if key not in without}
                with Meter(model) as meter, block_outputs.recorded(model) as blocks[name]:
                    outputs[name] = [t.clone() for t in flatten_output(model(**inputs, **plainly(model)))]
                readings[name] = meter.reading.to_data()
        if rank.rank == 0:
            torch.save(outputs, work / keep)
            torch.save(blocks, work / f"blocks.{keep}")
        layers = layer_weights(model, planned_whole(load(port.manifest_path).plan))
        share = published_share(port, config, rank) if published else {}
    return {"readings": readings, "planned": planned, "order": order, "layers": layers, "published": share}


def port_inputs(port: Port, work: Path) -> dict[str, dict[str, Any]]:
    """The saved inputs of the transformer by name of the call, as far as the port takes them."""
    forward = engine.transformer_class(port).forward
    return {name: taken_by(forward, inputs) for name, inputs in torch.load(saved(work, "inputs")).items()}


def compare(work: Path, got: str, expected: str) -> dict[str, float]:
    """Largest relative error of each call's (or case's) outputs between two saved results."""
    left, right = torch.load(work / got), torch.load(work / expected)
    return {name: _error(left[name], right[name]) for name in left if name in right}


def _error(got: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    if len(got) != len(expected):
        return float("inf")
    return max(engine.relative_error(a, b) for a, b in zip(got, expected, strict=True))


def pipeline_calls(port: Port) -> tuple[dict[str, Call], Mapping[str, Any]]:
    """The calls that a port's pipeline is compared on, and the parameters of the reference's ``__call__``."""
    signature = inspect.signature(checkpoint.import_object(port.reference_pipeline).__call__)
    return {call.name: call for call in calls_for(signature, recipe_of(port))}, signature.parameters


def reference_cases(port: Port, work: Path) -> dict[str, Any]:
    """Run the reference pipeline on every call and save latents, and of the first what is decoded.

    Where the reference cannot give its latents, what is decoded is saved instead of them, see :func:`compared_form`.

    Returns:
        ``distances``: for each call how far its latents are from those of ``base`` (1.0 where the shapes differ): one
        that does not differ tests nothing of its own; ``skipped``: calls that the reference itself cannot do, and why;
        ``gain``: see :func:`_gain`; ``no_latents``: why it gives none, empty if it does.
    """
    torch.set_num_threads(1)
    cls = checkpoint.import_object(port.reference_pipeline)
    pipeline, _ = load_reference(cls, saved(work, "checkpoint"))
    pipeline.set_progress_bar_config(disable=True)
    repair(recipe_of(port).repairs, pipeline)
    results: dict[str, list[torch.Tensor]] = {}
    skipped: dict[str, str] = {}
    calls = pipeline_calls(port)[0]
    with the_references_own(f"the reference's pipeline, case {BASE!r},"):
        results[BASE], no_latents = _first_run(pipeline, calls[BASE])
    form = "np" if no_latents else "latent"
    saved(work, "form").write_text(form)
    for call in calls.values():
        try:
            with the_references_own(f"the reference's pipeline, case {call.name!r},"):
                if call.name != BASE:
                    results[call.name] = trace.tensors_of(run_reference(pipeline, call, form))
                else:
                    pictures = hasattr(pipeline, "image_processor") or hasattr(pipeline, "video_processor")
                    for name, output_type in DECODED.items():
                        if output_type != form and (output_type != "pil" or pictures):
                            results[name] = trace.tensors_of(run_reference(pipeline, call, output_type))
        except OmniportError as error:
            if call.name == BASE:
                raise
            skipped[call.name] = " ".join(str(error).split())[:200]
    if (why := without_count(results)) is not None:
        skipped[SEVERAL] = why
    torch.save(results, saved(work, "images"))
    return {
        "distances": {name: _distance(results[name], results[BASE]) for name in results if ": " not in name},
        "skipped": skipped,
        "gain": _gain(pipeline, port, results[BASE], form),
        "no_latents": no_latents,
    }


def without_count(results: dict[str, list[torch.Tensor]]) -> str | None:
    """Why the call for several outputs goes from ``results``: the reference made one, and a port refuses to."""
    several = results.get(SEVERAL)
    if several is None or [t.shape for t in several] != [t.shape for t in results[BASE]]:
        return None
    del results[SEVERAL]
    return "the reference makes one output, whatever number is asked for"


def _first_run(pipeline: Any, call: Call) -> tuple[list[torch.Tensor], str]:
    """The latents of a call; where the reference gives none, although it decodes them: what is decoded, and why."""
    try:
        return trace.tensors_of(run_reference(pipeline, call, "latent")), ""
    except Exception as error:
        try:
            decoded = trace.tensors_of(run_reference(pipeline, call, "np"))
        except Exception:
            raise error from None  # it fails in any way
        return decoded, f"{type(error).__name__}: {error}{place_of(error)}"


def compared_form(work: Path) -> str:
    """The output type that reference and port are compared by: ``latent``, or ``np`` where there are no latents."""
    return saved(work, "form").read_text()


def _gain(pipeline: Any, port: Port, expected: list[torch.Tensor], form: str) -> float:
    """What the reference's own run makes of a small relative error of its transformer: that of the latents over it.

    The first steps of a scheduler may divide by a small signal, and guidance takes the difference of two branches.
    """
    generator = torch.Generator().manual_seed(SEED)

    def disturb(module: nn.Module, args: Any, output: Any) -> Any:
        for tensor in trace.tensors_of(output):
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.add_(noise.to(tensor.dtype) * (DISTURBANCE * float(tensor.norm()) / float(noise.norm())))
        return output

    hook = getattr(pipeline, checkpoint.transformer_component(port)).register_forward_hook(disturb)
    try:
        with the_references_own("the reference's pipeline, disturbed,"), torch.inference_mode():
            moved = trace.tensors_of(run_reference(pipeline, pipeline_calls(port)[0][BASE], form))
    finally:
        hook.remove()
    return _distance(moved, expected) / DISTURBANCE


def _distance(latents: list[torch.Tensor], base: list[torch.Tensor]) -> float:
    if [t.shape for t in latents] != [t.shape for t in base]:
        return 1.0
    return max(engine.relative_error(a.float(), b.float()) for a, b in zip(latents, base, strict=True))


def run_pipeline(
    port: Port, work: Path, rank: Rank, parallel: dict[str, Any], names: tuple[str, ...], images: bool, keep: str
) -> dict[str, Any]:
    """Run the port's pipeline in vLLM-Omni's worker on the named calls under ``parallel``.

    Rank 0 saves latents, and what is decoded of the first call where ``images`` is set, as ``keep``.

    Returns:
        one reading per call that ran, with the number of its scheduler's ``steps``, and per call that could not the
        reason.
    """
    torch.set_num_threads(1)
    config, worker = start_pipeline(port, work, rank, parallel)
    pipeline = worker.worker.model_runner.pipeline
    calls, parameters = pipeline_calls(port)
    decoded = [name for name in torch.load(saved(work, "images")) if name.startswith(f"{BASE}: ")] if images else []
    readings: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    results: dict[str, list[torch.Tensor]] = {}
    for call in (calls[name] for name in names):
        if len(call.prompts) > 1 and not getattr(pipeline, "supports_request_batch", False):
            skipped[call.name] = "the pipeline does not declare supports_request_batch"
            continue
        form = compared_form(work)
        readings[call.name], results[call.name] = measured(port, worker, config, call, parameters, form)
        for name in decoded if call.name == BASE else ():
            results[name] = run_call(worker, config, call, parameters, DECODED[name])
    if rank.rank == 0:
        torch.save(results, work / keep)
    return {"readings": readings, "skipped": skipped}


def start_pipeline(
    port: Port, work: Path, rank: Rank, parallel: dict[str, Any], options: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """The engine's config and a worker with the port's pipeline and the tiny checkpoint."""
    engine.register(port)
    config = engine.make_config(port, saved(work, "checkpoint"), rank, parallel, options=options)
    worker = engine.build_worker(config, rank)
    repairs = recipe_of(port).repairs
    repair(repairs, worker.worker.model_runner.pipeline)
    config.vae_use_tiling = config.vae_use_tiling or "vae tiling" in repairs
    return config, worker


def measured(
    port: Port, worker: Any, config: Any, call: Call, parameters: Mapping[str, Any], form: str
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """One call through the worker: what its transformer did, with the ``steps`` of its loop, and the output.

    ``all`` are the forwards of all denoisers: a pipeline may have one for each side of its guidance.

    A step of the loop may call its scheduler twice, or one for each of two modalities: what has no forward in between
    is one step.  ``rounds`` are the forwards of each denoiser in the steps in which it runs, and those behind the last.
    """
    pipeline = worker.worker.model_runner.pipeline
    schedulers = {type(c) for c in vars(pipeline).values() if hasattr(c, "step") and hasattr(c, "set_timesteps")}
    transformer = getattr(pipeline, checkpoint.transformer_component(port))
    begun: set[int] = set()
    counts: list[list[int]] = []  # of all denoisers, at every step
    others = [m for m in pipeline.children() if type(m) is type(transformer) and m is not transformer]
    ran: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in others]

    def count() -> None:
        counts.append([meter.reading.forwards, *(sum(module is m for module in ran) for m in others)])

    def on_step() -> None:
        begun.add(meter.reading.forwards)
        count()

    with Meter(transformer) as meter, trace.recorded(schedulers, on_step):
        latents = run_call(worker, config, call, parameters, form)
    count()
    for hook in hooks:
        hook.remove()
    counted = {"steps": len(begun), "all": meter.reading.forwards + len(ran), "rounds": rounds(counts)}
    return {**meter.reading.to_data(), **counted}, latents


def rounds(counts: Sequence[Sequence[int]]) -> list[list[int]]:
    """How many forwards each denoiser made in each step in which it made any; ``counts`` are those so far."""
    return [[b - a for a, b in pairwise([0, *so_far]) if b > a] for so_far in zip(*counts, strict=True)]


def published_share(port: Port, config: Any, rank: Rank) -> dict[str, Any]:
    """Block parameters of the port at published size on this rank; call it inside a worker, of which it is the last.

    Returns:
        ``local``: elements of this rank's blocks; ``full``: on rank 0 those of the reference's blocks; or ``unknown``:
        why the reference itself cannot be built from what is published, which leaves its size open.
    """
    published = checkpoint.published_config(port)
    config.tf_model_config.params.clear()
    config.tf_model_config.params.update(published)

    def reference() -> tuple[nn.Module | None, str]:
        try:
            return checkpoint.import_object(port.reference_transformer).from_config(published), ""
        except Exception as error:
            return None, f"{type(error).__name__}: {error}{place_of(error)}"

    with without_weights():
        try:
            local = block_parameters(engine.build_transformer(port, config))
        except Exception:
            if unknown := reference()[1]:
                return {"unknown": unknown}
            raise
        if rank.rank:
            return {"local": local}
        whole, unknown = reference()
        return {"unknown": unknown} if whole is None else {"local": local, "full": block_parameters(whole)}


@contextmanager
def without_weights() -> Iterator[None]:
    """Build modules on the meta device, and draw nothing: a draw that fills no memory still takes its time."""
    names = [name for name, value in vars(nn.init).items() if name.endswith("_") and inspect.isfunction(value)]
    kept: dict[str, Any] = dict.fromkeys(names, lambda tensor, *_, **__: tensor)
    with torch.device("meta"), patch.multiple(nn.init, **kept):
        yield
