"""The words that input expressions are written in: sizes, config keys, and functions that draw tensors.

An expression such as ``normal(batch, text, text_dim)`` describes one argument of a transformer's ``forward``.  It is
data of this package (:mod:`omniport.verify.signatures`, :mod:`omniport.verify.classes`), never read from a model.
Runs in a forked child.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from omniport.errors import UnsupportedError


@dataclass(frozen=True)
class Sizes:
    """Axis lengths: samples, token grid (frames, rows, columns), text tokens, tokens of a second text or of an image
    encoder.  All differ, so that two mixed-up axes cannot pass."""

    batch: int = 2
    rows: int = 4
    columns: int = 6
    text: int = 20
    frames: int = 3
    text2: int = 11

    @property
    def image(self) -> int:
        """Number of tokens of one image or one frame."""
        return self.rows * self.columns


class MissingKeyError(UnsupportedError):
    """An expression names a config key that is absent or None."""


class Vocabulary(Mapping[str, Any]):
    """The namespace of one call's expressions: sizes first, then functions, then config keys, then ``extra`` words.

    Args:
        config: of the model; completed with its constructor's defaults.
        sizes: axis lengths of the call.
        model: the reference; its first embedder shows the layout of the latents.
        generator: all numbers are drawn from it.
        extra: further words, as expressions.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        sizes: Sizes,
        model: nn.Module,
        generator: torch.Generator,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self.sizes, self.model, self.generator = config, sizes, model, generator
        self.extra = extra or {}

    def evaluate(self, expression: str) -> Any:
        """The value of an expression.

        Raises:
            MissingKeyError: it names a config key that is absent or None.
        """
        # ``eval`` of this package's own data: plain Python is its syntax, and no builtin is reachable.
        return eval(expression, {"__builtins__": {}}, self)

    def __getitem__(self, name: str) -> Any:
        if name in self.extra:
            return self.evaluate(self.extra[name])
        if hasattr(self.sizes, name):
            return getattr(self.sizes, name)
        if name in _PLAIN:
            return _PLAIN[name]
        if not name.startswith("_") and hasattr(type(self), name):
            return getattr(self, name)
        if self.config.get(name) is not None:
            return self.config[name]
        raise MissingKeyError(f"inputs cannot be made up: the config has no {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.config)

    def __len__(self) -> int:
        return len(self.config)

    # ------------------------------------------------------------------------------------------------------- drawing
    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator)

    def integers(self, below: int, *shape: int) -> torch.Tensor:
        """Whole numbers in 0..below-1."""
        return torch.randint(below, shape, generator=self.generator)

    def angles(self, *shape: int) -> torch.Tensor:
        """Angles of rotary embeddings, in 0..2π."""
        return torch.rand(shape, generator=self.generator) * (2 * math.pi)

    def span(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Evenly spaced numbers from low to high, different for each element."""
        return torch.linspace(low, high, math.prod(shape)).reshape(shape)

    def keep(self, *shape: int) -> torch.Tensor:
        """A key padding mask [batch, length]: the tail of each sample is masked, differently per sample."""
        batch, length = shape
        lengths = torch.tensor([max(1, length - 3 - 4 * i) for i in range(batch)])
        return torch.arange(length) < lengths[:, None]

    def lengths(self, count: int, length: int) -> torch.Tensor:
        """Valid lengths that fit :meth:`keep`."""
        return self.keep(count, length).sum(1)

    def times(self, *shape: int) -> torch.Tensor:
        """Timesteps in (0, 1), different for each element: large ones would drown in the sinusoids' rounding."""
        return self.span(0.25, 0.75, *shape)

    def rope(self, tokens: int, width: int, halves: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine [tokens, width] of random angles, each given to a pair of neighbours, or of the halves."""
        angles = self.angles(tokens, width // 2)
        table = torch.cat([angles, angles], -1) if halves else angles.repeat_interleave(2, -1)
        return table.cos(), table.sin()

    def new(self, name: str, *arguments: Any) -> Any:
        """An object of a class that the reference's own module defines (a cache it wants as an argument)."""
        return getattr(sys.modules[type(self.model).__module__], name)(*arguments)

    # ------------------------------------------------------------------------------------------------------ position
    def grid(self, *axes: int) -> torch.Tensor:
        """Coordinates of every point of a grid, [points, axes]."""
        return torch.cartesian_prod(*(torch.arange(n) for n in axes)).float()

    def ids(self, count: int, rows: int = 0, columns: int = 0, last: int = 0) -> torch.Tensor:
        """Position ids [tokens, count]: row and column on the last two axes and a constant on those before, or a
        running number on the last (``last`` tokens)."""
        if last:
            out = torch.zeros(last, count)
            out[:, -1] = torch.arange(last).float()
            return out
        out = torch.full((rows * columns, count), 1.0)
        out[:, -2:] = self.grid(rows, columns)
        return out

    # -------------------------------------------------------------------------------------------------------- layout
    def axes(self) -> int:
        """Number of rope axes."""
        return len(self.first(*ROPE_AXES))

    def first(self, *names: str) -> Any:
        """The value of the first of the config keys that is set.

        Raises:
            MissingKeyError: none is.
        """
        for name in names:
            if self.config.get(name) is not None:
                return self.config[name]
        raise MissingKeyError(f"inputs cannot be made up: the config has none of {', '.join(names)}")

    def latents(self) -> torch.Tensor:
        """Noisy latents in the layout that the first embedder over the input channels shows.

        [batch, tokens, channels] for a Linear over the channels, [batch, channels, rows, columns] for a Conv2d or a
        Linear over patches of two axes, [batch, channels, frames, rows, columns] for a Conv3d or patches of three,
        [batch, channels, tokens] for a Conv1d; rows, columns and frames times the patch.  A Linear over the
        channels among the model's own layers in front of its blocks speaks against patches: a time embedding has the
        width of many a patch.

        Raises:
            UnsupportedError: no Linear or convolution takes the input channels.
        """
        channels = self.first(*LATENT_CHANNELS)
        s = self.sizes
        spatial, time = self._patch()
        own = takewhile(lambda child: not isinstance(child, nn.ModuleList), self.model.children())
        tokens = any(isinstance(child, nn.Linear) and child.in_features == channels for child in own)
        for module in self.model.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.in_channels == channels:
                stride = module.stride
                grid = [s.frames, s.rows, s.columns][3 - len(stride) :] if len(stride) > 1 else [s.image]
                return self.normal(s.batch, channels, *(n * p for n, p in zip(grid, stride, strict=True)))
            if isinstance(module, nn.Linear) and module.in_features == channels:
                return self.normal(s.batch, s.image, channels)
            if isinstance(module, nn.Linear) and spatial > 1 and not tokens:
                if module.in_features == channels * spatial**2 * time and "patch_size_t" in self.config:
                    return self.normal(s.batch, channels, s.frames * time, s.rows * spatial, s.columns * spatial)
                if module.in_features == channels * spatial**2:
                    return self.normal(s.batch, channels, s.rows * spatial, s.columns * spatial)
        raise UnsupportedError(
            f"inputs cannot be made up: no Linear or convolution takes the {channels} input channels"
        )

    def _patch(self) -> tuple[int, int]:
        """Rows (and columns) and frames of a patch."""
        patch = self.config.get("patch_size") or 1
        if isinstance(patch, (list, tuple)):
            return int(patch[-1]), int(patch[0]) if len(patch) > 2 else 1
        return int(patch), int(self.config.get("patch_size_t") or 1)


LATENT_CHANNELS = ("in_channels", "in_visual_dim", "io_channels", "latent_dim")
ROPE_AXES = ("axes_dims_rope", "axes_dim", "axes_dims", "rope_axes_dim", "axes_dim_rope", "rope_dim_list")

_PLAIN: dict[str, Any] = {
    "true": True,
    "range": range,
    "cos": torch.cos,
    "sin": torch.sin,
    "cat": torch.cat,
    "stack": torch.stack,
    "arange": torch.arange,
    "zeros": torch.zeros,
    "ones": torch.ones,
    "tensor": torch.tensor,
    "polar": lambda angles: torch.polar(torch.ones_like(angles), angles),
    "long": torch.long,
    "double": torch.double,
    "bool": torch.bool,
    "int": int,
    "len": len,
    "list": list,
    "tuple": tuple,
    "interleave": lambda *tensors: torch.stack(tensors, 1).flatten(0, 1),
}
