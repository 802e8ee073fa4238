"""What shows that a feature of vLLM-Omni acts on a port's transformer, and leaves its result as it was.

Each module has ``prove(subject) -> Proof``.  They run in a forked child inside a worker, for the corpus run and for
``omniport verify`` alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from omniport.verify import engine
from omniport.verify.inputs import plainly
from omniport.verify.tasks import flatten_output

PARITY = 1e-5
"""Largest relative error against the same port without the feature."""


class Pipeline(nn.Module):
    """What vLLM-Omni's features ask of a pipeline, around one transformer."""

    _dit_modules = ("transformer",)
    _encoder_modules: tuple[str, ...] = ()
    _vae_modules: tuple[str, ...] = ()
    _resident_modules: tuple[str, ...] = ()

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer


@dataclass(frozen=True)
class Subject:
    """A port's transformer to prove something of: ``build_with`` makes it anew from a checkpoint, ``weights`` are its
    own, ``calls`` are inputs of its forward by name, ``config`` is the worker's, and ``reference`` gives the
    reference's outputs of a call."""

    build_with: Callable[[dict[str, torch.Tensor]], nn.Module]
    weights: dict[str, torch.Tensor]
    calls: dict[str, dict[str, Any]]
    config: Any
    reference: Callable[[str], list[torch.Tensor]]

    def build(self) -> nn.Module:
        """The transformer with its own weights."""
        return self.build_with(self.weights)


@dataclass(frozen=True)
class Proof:
    """``figure``: largest relative error; ``problems``: what is wrong; ``detail``: what shows that it acted."""

    figure: float | None
    problems: tuple[str, ...]
    detail: str


def run(model: nn.Module, inputs: dict[str, Any]) -> list[torch.Tensor]:
    """The outputs of one call."""
    with torch.inference_mode():
        return flatten_output(model(**inputs, **plainly(model)))


def distance(got: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest relative error over all outputs; infinite where their number differs."""
    if len(got) != len(expected):
        return float("inf")
    return max(engine.relative_error(a, b) for a, b in zip(got, expected, strict=True))


def unequal(name: str, error: float) -> list[str]:
    """The problem of a result that changed, [] if it did not."""
    return [] if error <= PARITY else [f"{name}: relative error {error:.1e} against the port without it"]


def on_several_tokens(modules: dict[str, nn.Module]) -> set[str]:
    """Paths of the modules that will be given ``[..., tokens, channels]`` with several tokens, filled as they run."""
    found: set[str] = set()

    def hook(path: str) -> Any:
        def note(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            if args[0].ndim > 2 and args[0].shape[-2] > 1:
                found.add(path)

        return note

    for path, module in modules.items():
        module.register_forward_pre_hook(hook(path))
    return found
