"""The work that forked children do for the features: everything that touches torch, the reference or the port."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.errors import OmniportError
from omniport.verify import block_outputs, checkpoint, engine, module_tree
from omniport.verify.cases import EVEN, ODD, SEED, Case, cases_for
from omniport.verify.forks import Rank, place_of
from omniport.verify.inputs import Sizes, synthesise
from omniport.verify.meter import Meter, block_parameters
from omniport.verify.port import Port
from omniport.verify.requests import run_case

CALLS = {EVEN: Sizes(), ODD: Sizes(1, 3, 5, 9)}

_SAVED = {
    "checkpoint": "checkpoint",
    "inputs": "inputs.pt",
    "outputs": "outputs.reference.pt",
    "images": "images.reference.pt",
    "blocks": "blocks.reference.pt",
}


def saved(work: Path, what: str) -> Path:
    """Where a result that other children read is kept below ``work``."""
    return work / _SAVED[what]


def prepare(port: Port, work: Path) -> dict[str, Any]:
    """Build the checkpoint, the inputs of the transformer and what the reference makes of them.

    Returns:
        how many parameters and how many tensors the tiny transformer has.
    """
    torch.set_num_threads(1)
    folder = saved(work, "checkpoint")
    component = checkpoint.transformer_component(port)
    with the_references_own("building the tiny checkpoint"):
        checkpoint.build_checkpoint(port, folder)
        model = checkpoint.import_object(port.reference_transformer).from_pretrained(folder / component).eval()
    inputs = {name: synthesise(model, model.config, sizes) for name, sizes in CALLS.items()}
    outputs, blocks = {}, {}
    with torch.inference_mode(), the_references_own("the reference's transformer"):
        for name, kwargs in inputs.items():
            with block_outputs.recorded(model) as blocks[name]:
                outputs[name] = flatten_output(model(**kwargs, return_dict=False))
    for name, tensors in outputs.items():
        if not all(torch.isfinite(t).all() and t.std() > 0 for t in tensors):
            raise OmniportError(
                f"the reference's output for {name} is constant or not finite; the comparison would show nothing"
            )
    torch.save(inputs, saved(work, "inputs"))
    torch.save(outputs, saved(work, "outputs"))
    torch.save(blocks, saved(work, "blocks"))
    return {"parameters": sum(p.numel() for p in model.parameters()), "tensors": len(model.state_dict())}


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
    port: Port, work: Path, rank: Rank, parallel: dict[str, Any], names: tuple[str, ...], keep: str
) -> dict[str, Any]:
    """Run the port's transformer on the saved inputs of the named calls under ``parallel``.

    Rank 0 saves its outputs as ``keep``.

    Returns:
        one reading per call, whether vLLM-Omni applied a sequence-parallel plan, and the order in which the
        transformer's children were first called.
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
        saved_inputs = torch.load(saved(work, "inputs"))
        with module_tree.first_calls(model) as order:
            for name in names:
                inputs = saved_inputs[name]
                with Meter(model) as meter, block_outputs.recorded(model) as blocks[name]:
                    outputs[name] = [t.clone() for t in flatten_output(model(**inputs, return_dict=False))]
                readings[name] = meter.reading.to_data()
    if rank.rank == 0:
        torch.save(outputs, work / keep)
        torch.save(blocks, work / f"blocks.{keep}")
    return {"readings": readings, "planned": planned, "order": order}


def compare(work: Path, got: str, expected: str) -> dict[str, float]:
    """Largest relative error of each call's (or case's) outputs between two saved results."""
    left, right = torch.load(work / got), torch.load(work / expected)
    return {name: _error(left[name], right[name]) for name in left if name in right}


def _error(got: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    if len(got) != len(expected):
        return float("inf")
    return max(engine.relative_error(a, b) for a, b in zip(got, expected, strict=True))


def reference_cases(port: Port, work: Path) -> dict[str, Any]:
    """Run the reference pipeline on every case and save latents and image.

    Returns:
        for each case how far its latents are from those of ``base`` (1.0 where the shapes differ): a case that does
        not differ tests nothing of its own.
    """
    torch.set_num_threads(1)
    cls = checkpoint.import_object(port.reference_pipeline)
    pipeline = cls.from_pretrained(saved(work, "checkpoint"), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    cases = cases_for(inspect.signature(cls.__call__).parameters)
    results: dict[str, Any] = {}
    for case in cases.values():
        with the_references_own(f"the reference's pipeline, case {case.name!r},"):
            results[case.name] = [_reference(pipeline, case, "latent")]
            if case.image:
                results[f"{case.name}: image"] = [_reference(pipeline, case, "pt")]
                results[f"{case.name}: file"] = [_pixels(_reference(pipeline, case, "pil"))]
    torch.save(results, saved(work, "images"))
    base = results["base"][0]
    return {
        name: engine.relative_error(results[name][0], base) if results[name][0].shape == base.shape else 1.0
        for name in cases
    }


def _reference(pipeline: Any, case: Case, output_type: str) -> Any:
    generators = [torch.Generator("cpu").manual_seed(SEED + i) for i in range(len(case.prompts))]
    single = len(case.prompts) == 1
    arguments = dict(case.sampling)
    if case.negative is not None:
        arguments["negative_prompt"] = case.negative if single else [case.negative] * len(case.prompts)
    output = pipeline(
        prompt=case.prompts[0] if single else list(case.prompts),
        generator=generators[0] if single else generators,
        output_type=output_type,
        **arguments,
    )
    return output.images if hasattr(output, "images") else output.frames


def _pixels(images: Any) -> torch.Tensor:
    """PIL images as [images, rows, columns, channels] in 0..255."""
    import numpy

    return torch.stack([torch.from_numpy(numpy.asarray(image).copy()).float() for image in images])


def run_pipeline(
    port: Port, work: Path, rank: Rank, parallel: dict[str, Any], names: tuple[str, ...], images: bool, keep: str
) -> dict[str, Any]:
    """Run the port's pipeline in vLLM-Omni's worker on the named cases under ``parallel``.

    Rank 0 saves latents, and images where ``images`` is set, as ``keep``.

    Returns:
        one reading per case that ran, and per case that could not the reason.
    """
    torch.set_num_threads(1)
    engine.register(port)
    config = engine.make_config(port, saved(work, "checkpoint"), rank, parallel)
    worker = engine.build_worker(config, rank)
    pipeline = worker.worker.model_runner.pipeline
    transformer = getattr(pipeline, checkpoint.transformer_component(port))
    cls = checkpoint.import_object(port.reference_pipeline)
    cases = cases_for(inspect.signature(cls.__call__).parameters)
    readings: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    results: dict[str, Any] = {}
    for case in (cases[name] for name in names):
        if len(case.prompts) > 1 and not getattr(pipeline, "supports_request_batch", False):
            skipped[case.name] = "the pipeline does not declare supports_request_batch"
            continue
        with Meter(transformer) as meter:
            results[case.name] = [run_case(worker, config, case, "latent")]
        readings[case.name] = meter.reading.to_data()
        if case.image and images:
            decoded = run_case(worker, config, case, "pil")
            results[f"{case.name}: image"] = [(decoded / 2 + 0.5).clamp(0, 1)]
            results[f"{case.name}: file"] = [_pixels(_post_process(config, decoded))]
    if rank.rank == 0:
        torch.save(results, work / keep)
    return {"readings": readings, "skipped": skipped}


def _post_process(config: Any, decoded: torch.Tensor) -> Any:
    """The port's own post-processing of a decoded image, as the engine calls it."""
    from vllm_omni.diffusion.registry import get_diffusion_post_process_func

    config.output_type = "pil"
    function = get_diffusion_post_process_func(config)
    if function is None:
        raise RuntimeError("the port registers no post-process function, so the engine would hand out a raw tensor")
    return function(decoded)


def published_share(port: Port, work: Path, rank: Rank) -> dict[str, int]:
    """Block parameters of the port at published size under ``rank.world`` tensor-parallel ranks, on the meta device.

    Returns:
        ``local``: elements of this rank's blocks; ``full``: those of the reference's blocks.
    """
    cls = checkpoint.import_object(port.reference_transformer)
    published = checkpoint.published_config(port)
    config = engine.make_config(port, saved(work, "checkpoint"), rank, {"tensor_parallel_size": rank.world})
    config.tf_model_config.params.clear()
    config.tf_model_config.params.update(published)
    with engine.bare_worker(config, rank), torch.device("meta"):
        local = block_parameters(engine.build_transformer(port, config))
        reference: nn.Module = cls.from_config(published)
    return {"local": local, "full": block_parameters(reference)}
