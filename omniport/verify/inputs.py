"""Inputs for one call of a transformer, made up from its signature and its config.  Runs in a forked child.

Every axis has a length of its own, so that two mixed-up axes cannot pass: see :data:`SIZES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from omniport.errors import UnsupportedError
from omniport.verify.recipes import ROPE_AXES, TEXT_WIDTH


@dataclass(frozen=True)
class Sizes:
    """Axis lengths: samples, image grid (rows, columns; their product is the number of image tokens), text tokens."""

    batch: int = 2
    rows: int = 4
    columns: int = 6
    text: int = 20

    @property
    def image(self) -> int:
        """Number of image tokens."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Context:
    """What a rule may look at."""

    config: Mapping[str, Any]
    sizes: Sizes
    model: nn.Module
    generator: torch.Generator

    def randn(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers of a fixed seed."""
        return torch.randn(shape, generator=self.generator)

    def key(self, *names: str) -> Any:
        """The value of the first of the config keys that is set.

        Raises:
            UnsupportedError: none is.
        """
        for name in names:
            if self.config.get(name) is not None:
                return self.config[name]
        raise UnsupportedError(f"inputs cannot be made up: the config has none of {', '.join(names)}")


def _hidden_states(c: Context) -> torch.Tensor:
    """[batch, tokens, channels] if the first embedder is a Linear over the channels, [batch, channels, rows, columns]
    if it is a Conv2d."""
    channels = c.key("in_channels")
    for module in c.model.modules():
        if isinstance(module, nn.Linear) and module.in_features == channels:
            return c.randn(c.sizes.batch, c.sizes.image, channels)
        if isinstance(module, nn.Conv2d) and module.in_channels == channels:
            patch = module.stride[0]
            return c.randn(c.sizes.batch, channels, c.sizes.rows * patch, c.sizes.columns * patch)
    raise UnsupportedError(f"inputs cannot be made up: no Linear or Conv2d takes the {channels} input channels")


def _text(c: Context) -> torch.Tensor:
    width = c.key(*(k for k in TEXT_WIDTH if not k.startswith("pooled")))
    return c.randn(c.sizes.batch, c.sizes.text, width)


def _pooled(c: Context) -> torch.Tensor:
    return c.randn(c.sizes.batch, c.key("pooled_projection_dim"))


def _timestep(c: Context) -> torch.Tensor:
    """Different for each sample, in (0, 1): large values would drown in the sinusoids' rounding."""
    return torch.linspace(0.25, 0.75, c.sizes.batch)


def _guidance(c: Context) -> torch.Tensor | None:
    return torch.linspace(2.0, 3.5, c.sizes.batch) if c.config.get("guidance_embeds") else None


def _axes(c: Context) -> int:
    """Number of rope axes, from the config or, where it keeps the default, from the constructor."""
    defaults = inspect.signature(type(c.model).__init__).parameters
    for name in ROPE_AXES:
        value = c.config.get(name) or (defaults[name].default if name in defaults else None)
        if value:
            return len(value)
    raise UnsupportedError(f"inputs cannot be made up: the config has none of {', '.join(ROPE_AXES)}")


def _img_ids(c: Context) -> torch.Tensor:
    """[image tokens, axes]: row and column on the last two axes, a constant on those before."""
    ids = torch.full((c.sizes.image, _axes(c)), 1.0)
    grid = torch.cartesian_prod(torch.arange(c.sizes.rows), torch.arange(c.sizes.columns)).float()
    ids[:, -2:] = grid
    return ids


def _txt_ids(c: Context) -> torch.Tensor:
    """[text tokens, axes]: not zero, as published pipelines have it, or a port that ignores them would pass."""
    ids = torch.zeros(c.sizes.text, _axes(c))
    ids[:, -1] = torch.arange(c.sizes.text).float()
    return ids


RULES: dict[str, Callable[[Context], Any]] = {
    "hidden_states": _hidden_states,
    "encoder_hidden_states": _text,
    "pooled_projections": _pooled,
    "timestep": _timestep,
    "guidance": _guidance,
    "img_ids": _img_ids,
    "txt_ids": _txt_ids,
}

LEFT_OUT = {  # parameter -> why a comparison does not need it
    "attention_kwargs": "LoRA scale and processor options, which a port drops",
    "joint_attention_kwargs": "LoRA scale and processor options, which a port drops",
    "cross_attention_kwargs": "LoRA scale and processor options, which a port drops",
    "controlnet_block_samples": "ControlNet residuals, which a port drops",
    "controlnet_single_block_samples": "ControlNet residuals, which a port drops",
    "controlnet_blocks_repeat": "ControlNet residuals, which a port drops",
    "block_controlnet_hidden_states": "ControlNet residuals, which a port drops",
    "skip_layers": "skip-layer guidance, optional",
    "return_dict": "always False",
}


def synthesise(model: nn.Module, config: Mapping[str, Any], sizes: Sizes, seed: int = 0) -> dict[str, Any]:
    """Keyword arguments for ``model.forward``, without ``return_dict``.

    Parameters with neither a rule nor a reason to leave them out are left out if they have a default.

    Raises:
        UnsupportedError: a required parameter has no rule, or a rule lacks what it needs.
    """
    context = Context(config, sizes, model, torch.Generator().manual_seed(seed))
    inputs: dict[str, Any] = {}
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.name in RULES:
            value = RULES[parameter.name](context)
            if value is not None:
                inputs[parameter.name] = value
        elif parameter.name not in LEFT_OUT and parameter.default is inspect.Parameter.empty:
            if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
                continue
            raise UnsupportedError(
                f"inputs cannot be made up: no rule for the required parameter {parameter.name!r} of "
                f"{type(model).__name__}.forward"
            )
    return inputs
