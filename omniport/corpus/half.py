"""The stage ``bf16``: what a port and its reference keep in float32, and what both compute, when loaded in bfloat16."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from omniport.corpus.results import StageError
from omniport.errors import OmniportError
from omniport.verify import engine
from omniport.verify.signatures import LEFT_OUT
from omniport.verify.tasks import flatten_output, the_references_own
from omniport.verify.transformers import TransformerCase, build_reference

HALF = torch.bfloat16
Inputs = Callable[[nn.Module], dict[str, Any]]

LIMIT = 0.05
"""Largest relative error where rounding moves the reference itself further, as it does with large timesteps; most
references move by 1e-2, a few units in the last of bfloat16's eight binary places."""

#: Inputs that every pipeline hands over in the model's precision: embeddings and latents.
EMBEDDED = re.compile(
    r"hidden_states|latents|embeds|projections|pixel|text_encoder_layers|text_bth|\Ax\Z|cap_feats|cond\Z"
)

#: Inputs that no pipeline does: rope tables, positions and sizes.
EXACT = re.compile(r"ind(ices|ex)|_ids|rotary|grid|scale\Z|size|coords")

PRECISIONS = ("times in float32", "times in bfloat16")
"""How pipelines hand over the rest, times and masks: some cast them, too, and some references want that."""


def half_inputs(inputs: dict[str, Any], precision: str) -> dict[str, Any]:
    """The same inputs as a pipeline in bfloat16 hands them over."""
    everything = precision == PRECISIONS[1]
    return {
        name: _cast(value) if _handed_over(name, everything) and not EXACT.search(name) else value
        for name, value in inputs.items()
    }


def _handed_over(name: str, everything: bool) -> bool:
    return everything or bool(EMBEDDED.search(name)) and "mask" not in name


def _cast(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(HALF) if value.is_floating_point() else value
    return type(value)(_cast(item) for item in value) if isinstance(value, list | tuple) else value


def bf16(
    said: dict[str, Any],
    build: Callable[[TransformerCase], nn.Module],
    reference: Any,
    work: Path,
    cases: list[TransformerCase],
) -> None:
    """Load both in bfloat16 and compare precisions, then outputs; fills ``said`` as a stage does.

    A port may add in another order than its reference, so the limit is what rounding does to the reference: its
    distance from itself in float32, and never more than :data:`LIMIT`.

    Args:
        said: takes the largest relative error as ``figure``, and ``detail``.
        build: the port of a form, constructed under the default precision bfloat16.
        reference: its class.
        work: folder for checkpoints.
        cases: the forms.

    Raises:
        StageError: another precision of a tensor, another output, or no form that the reference runs in bfloat16.
    """
    errors: dict[str, float] = {}
    limits: dict[str, float] = {}
    problems: list[str] = []
    left_out: list[str] = []
    for number, case in enumerate(cases):
        full, half = in_half(reference, case, work / str(number))
        port = _loaded(build(case), full)
        if wrong := differing(port, half):
            problems.append(f"{case.variant}: {len(wrong)} tensors in another precision: {wrong[0]}")
        try:
            for call, (error, rounding) in compare_half(port, full, half, case).items():
                errors[f"{case.variant}, {call}"], limits[f"{case.variant}, {call}"] = error, min(rounding, LIMIT)
        except OmniportError as error:
            left_out.append(str(error))
    said["figure"] = max(errors.values(), default=None)
    said["detail"] = "; ".join(left_out)
    problems += [
        f"{name}: relative error {error:.1e}, by rounding {limits[name]:.1e}"
        for name, error in errors.items()
        if not error <= limits[name]
    ]
    if problems or not errors:
        raise StageError("; ".join(problems or left_out))


def hsdp(
    build: Callable[[TransformerCase], nn.Module],
    shard: Callable[[nn.Module], None],
    reference: Any,
    work: Path,
    cases: list[TransformerCase],
) -> dict[str, Any]:
    """Compare the port, loaded in bfloat16 and sharded over the ranks, with the reference in bfloat16.

    Returns:
        ``figure``: the largest relative error; ``reason``: what is wrong, empty if nothing; ``detail``: parameters.
    """
    worst, problems, detail = 0.0, [], ""
    for number, case in enumerate(cases):
        full, half = in_half(reference, case, work / str(number))
        port = _loaded(build(case), full)
        whole = sum(p.numel() for p in port.parameters())
        shard(port)
        local = sum(_local(p).numel() for p in port.parameters())
        detail = detail or f"{whole} parameters, {local} on this rank"
        if local > 0.6 * whole:
            problems.append(f"{case.variant}: this rank holds {local} of {whole} parameters")
        try:
            for call, (error, rounding) in compare_half(port, full, half, case).items():
                worst = max(worst, error)
                if not error <= min(rounding, LIMIT):
                    problems.append(f"{case.variant}, {call}: relative error {error:.1e}, by rounding {rounding:.1e}")
        except StageError as error:
            problems.append(str(error))
        except OmniportError:
            continue  # the reference does not run in bfloat16, which the stage bf16 says
    return {"figure": worst, "reason": "; ".join(problems), "detail": detail}


def _local(parameter: torch.Tensor) -> torch.Tensor:
    """What this rank holds of a parameter."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def _loaded(port: nn.Module, full: nn.Module) -> nn.Module:
    port.load_weights(iter(full.state_dict().items()))  # type: ignore[operator]
    engine.finish_loading(port)
    return port


def in_half(reference: Any, case: TransformerCase, folder: Path) -> tuple[nn.Module, nn.Module]:
    """The reference in float32, and the same loaded in bfloat16 by its own loader."""
    full = build_reference(reference, case)
    full.save_pretrained(folder)  # type: ignore[operator]
    return full, reference.from_pretrained(folder, torch_dtype=HALF).eval()


def differing(port: nn.Module, reference: nn.Module) -> list[str]:
    """Checkpoint names whose precision in the port is not that in the reference."""
    wanted = {name: tensor.dtype for name, tensor in reference.state_dict().items()}
    stacked = getattr(port, "stacked_params_mapping", [])
    wrong = []
    for name, tensor in port.state_dict().items():
        parts = [name.replace(f"{fused}.", f"{part}.") for fused, part, _ in stacked if f"{fused}." in name] or [name]
        wrong += [f"{p} is {tensor.dtype}, not {wanted[p]}" for p in parts if p in wanted and wanted[p] != tensor.dtype]
    return wrong


def compare_half(
    port: nn.Module, full: nn.Module, half: nn.Module, case: TransformerCase
) -> dict[str, tuple[float, float]]:
    """By call: relative error of the port against the reference, both in bfloat16, and of that against float32.

    Raises:
        OmniportError: the reference does not run in bfloat16.
        StageError: an output of the port has another precision.
    """
    accepted = inspect.signature(port.forward).parameters.keys()
    found: dict[str, tuple[float, float]] = {}
    for name, make in case.calls.items():
        with torch.inference_mode():
            exact = _run(full, make(full), f"{case.variant}, {name}")
            precision, expected = _reference(half, full, make, f"{case.variant}, {name}")
            inputs = {k: v for k, v in half_inputs(make(full), precision).items() if k in accepted or k not in LEFT_OUT}
            got = flatten_output(port(**inputs, return_dict=False))
        for mine, other in zip(got, expected, strict=True):
            if mine.dtype != other.dtype:
                raise StageError(f"{case.variant}, {name}: the output is {mine.dtype}, the reference's {other.dtype}")
        found[name] = _distance(got, expected), _distance(expected, exact)
    return found


def _distance(got: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max(engine.relative_error(a, b) for a, b in zip(got, expected, strict=True))


def _reference(half: nn.Module, full: nn.Module, make: Inputs, what: str) -> tuple[str, list[torch.Tensor]]:
    """How the reference takes its inputs, and its outputs."""
    for precision in PRECISIONS[:-1]:
        with suppress(OmniportError):
            return precision, _run(half, half_inputs(make(full), precision), what)
    return PRECISIONS[-1], _run(half, half_inputs(make(full), PRECISIONS[-1]), what)


def _run(model: nn.Module, inputs: dict[str, Any], what: str) -> list[torch.Tensor]:
    with the_references_own(f"the reference, bfloat16 ({what}),"):
        return flatten_output(model(**inputs, return_dict=False))
