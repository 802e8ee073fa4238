"""What a pipeline gives its scheduler at every step, recorded on both sides and compared.  Runs in a forked child."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from omniport.verify.engine import relative_error

IGNORED = ("self", "return_dict", "generator")


@dataclass
class Step:
    """One call of ``step``: its arguments by name (``generator`` only as whether there is one), and the tensors out."""

    arguments: dict[str, Any]
    results: list[torch.Tensor] = field(default_factory=list)


@contextmanager
def recorded(classes: set[type], on_step: Callable[[], object] = lambda: None) -> Iterator[list[Step]]:
    """Record every ``step`` of schedulers of these classes, copies of them included; ``on_step``: called before it."""
    steps: list[Step] = []
    originals = {cls: cls.__dict__.get("step") for cls in classes}
    try:
        for cls in classes:
            cls.step = _recorder(cls.step, steps, on_step)  # type: ignore[attr-defined]
        yield steps
    finally:
        for cls, original in originals.items():
            if original is None:
                del cls.step  # type: ignore[attr-defined]
            else:
                cls.step = original  # type: ignore[attr-defined]


def _recorder(original: Any, steps: list[Step], on_step: Callable[[], object]) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def step(*args: Any, **kwargs: Any) -> Any:
        on_step()
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        arguments = {k: _kept(v) for k, v in given.arguments.items() if k not in IGNORED}
        arguments["generator given"] = given.arguments.get("generator") is not None
        taken = Step(arguments)
        steps.append(taken)
        result = original(*args, **kwargs)
        taken.results = [t.detach().clone() for t in tensors_of(result)]
        return result

    return step


def _kept(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Every tensor of an output, in order; arrays and pictures too, in float32, pictures in 0..1."""
    if isinstance(value, torch.Tensor):
        return [value]
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        return [torch.from_numpy(value.copy()).float()]
    if hasattr(value, "getbands"):
        import numpy

        return [torch.from_numpy(numpy.asarray(value).copy()).float() / 255]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors_of(item)]
    if isinstance(value, (list, tuple)):
        found = [t for item in value for t in tensors_of(item)]
        alike = len(found) > 1 and len({t.shape for t in found}) == 1 and isinstance(value, list)
        return [torch.stack(found)] if alike else found
    if hasattr(value, "__dict__"):
        return [t for item in vars(value).values() for t in tensors_of(item)]
    return []


LIMIT = 1e-4
"""Relative error of a tensor from which on the place of the first one is told."""


def compare_steps(got: list[Step], expected: list[Step]) -> tuple[float, str]:
    """Largest relative error over all tensors of all steps, and the first place that is wrong (empty if none is)."""
    if len(got) != len(expected):
        return float("inf"), f"{len(got)} scheduler steps instead of {len(expected)}"
    worst, where = 0.0, ""
    for number, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        for name, value in theirs.arguments.items():
            other = ours.arguments.get(name)
            if isinstance(value, torch.Tensor) and isinstance(other, torch.Tensor):
                error = _error(other, value)
                worst = max(worst, error)
                if not error <= LIMIT and not where:
                    where = f"step {number}: {name}, {_shapes(other, value)}"
            elif not _same(value, other):
                return float("inf"), f"step {number}: {name} is {other!r} instead of {value!r}"
        for one, two in zip(ours.results, theirs.results, strict=False):
            error = _error(one, two)
            worst = max(worst, error)
            if not error <= LIMIT and not where:
                where = f"step {number}: result, {_shapes(one, two)}"
    return worst, where


def _once(expected: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    """One half of what the reference holds twice over, where the port holds it once.

    A pipeline may carry its doubled batch through the scheduler (DiT); both halves are then the same, bit for bit.
    """
    if expected.ndim and got.ndim and len(expected) == 2 * len(got) and expected.shape[1:] == got.shape[1:]:
        first, second = expected.chunk(2)
        return first if torch.equal(first, second) else expected
    return expected


def _shapes(got: torch.Tensor, expected: torch.Tensor) -> str:
    return f"{list(got.shape)}" if got.shape == expected.shape else f"{list(got.shape)} for {list(expected.shape)}"


def _error(got: torch.Tensor, expected: torch.Tensor) -> float:
    expected = _once(expected, got)
    if got.shape == expected.shape and torch.equal(got, expected):
        return 0.0
    if got.dtype == torch.bool or got.is_complex():
        return float("inf")
    return relative_error(got.float(), expected.float())


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(two, torch.Tensor):
        try:
            return bool(torch.as_tensor(one).float().equal(torch.as_tensor(two).float()))
        except (TypeError, ValueError, RuntimeError):
            return False
    if isinstance(one, (int, float, str, bool, type(None))):
        return bool(one == two)
    return type(one) is type(two)


LEVELS = 255
FLIPPED = 1e-3
"""Largest share of values that may be one level off where the reference cuts its output to bytes itself (a safety check
on pictures): float noise moves what lies on the edge of a level by a whole one, at any precision of the port."""


def _on_edges(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """``got`` with the reference's values where it is one level off; both as they are unless all that fits."""
    ours, theirs = (t.float() * LEVELS for t in (got, expected))
    if not all(torch.allclose(t, t.round(), rtol=0, atol=1e-3) for t in (ours, theirs)):
        return got
    off = (ours - theirs).abs().round()
    few = bool(off.max() <= 1) and float((off > 0).float().mean()) <= FLIPPED
    return expected if few else got


def compare_outputs(got: list[torch.Tensor], expected: list[torch.Tensor]) -> tuple[float, str]:
    """Largest difference of any element in units of full scale (the reference's largest value)."""
    if [t.shape for t in got] != [t.shape for t in expected]:
        return float("inf"), f"shapes {[list(t.shape) for t in got]} instead of {[list(t.shape) for t in expected]}"
    worst = 0.0
    for one, two in zip((_on_edges(a, b) for a, b in zip(got, expected, strict=True)), expected, strict=True):
        if not torch.isfinite(one.float()).all():
            return float("inf"), "the output is not finite"
        scale = float(two.float().abs().max()) or 1.0
        worst = max(worst, float((one.float() - two.float()).abs().max()) / scale)
    return worst, ""
