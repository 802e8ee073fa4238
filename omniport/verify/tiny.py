"""From published configs to tiny ones that still fit together.  Pure: knows configs, imports no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from omniport.errors import OmniportError
from omniport.verify.recipes import (
    ENCODERS,
    HEAD_DIM,
    INNER_WIDTH,
    LATENT_WIDTH,
    ROPE_AXES,
    TEXT_OR_INNER,
    TEXT_WIDTH,
    TRANSFORMER_SIZES,
    VAES,
    Recipe,
)

Config = dict[str, Any]


@dataclass(frozen=True)
class Width:
    """The width of one component's output, as published and as made tiny."""

    component: str
    published: int
    tiny: int


def shrink_component(recipe: Recipe, defaults: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Config, Config]:
    """Apply a recipe: the published config completed, and the tiny one.

    Args:
        recipe: of the component's class.
        defaults: the class's own defaults.
        config: what the model publishes; empty if only the class was named.
    """
    full = {**defaults, **(config or recipe.published)}
    tiny = {**full, **{k: v for k, v in recipe.sizes.items() if k in full}}
    for key, value in recipe.lengths.items():
        if key in full:
            tiny[key] = [value] * len(full[key])
    return full, tiny


def shrink_transformer(
    defaults: Mapping[str, Any], config: Mapping[str, Any], text: list[Width], latent: Width | None
) -> Config:
    """Make a transformer config tiny.

    Args:
        defaults: the constructor's own defaults.
        config: what the model publishes.
        text: widths of the text encoders.
        latent: channels of the VAE's latents.

    Raises:
        OmniportError: a width of the config equals no width, and no sum of widths, of the other components.
    """
    full = {**defaults, **{k: v for k, v in config.items() if not k.startswith("_")}}
    tiny = dict(full)
    for key, size in TRANSFORMER_SIZES.items():
        if isinstance(full.get(key), int):
            tiny[key] = size
    heads, head_dim = full.get("num_attention_heads"), full.get("attention_head_dim")
    for key in ROPE_AXES:
        if full.get(key):
            tiny[key] = scale_axes(full[key], HEAD_DIM)
    for key in INNER_WIDTH:
        if full.get(key) is not None:
            if not (isinstance(heads, int) and isinstance(head_dim, int) and full[key] == heads * head_dim):
                raise OmniportError(
                    f"transformer config: {key}={full[key]} is not heads times head size; no rule makes it tiny"
                )
            tiny[key] = TRANSFORMER_SIZES["num_attention_heads"] * HEAD_DIM
    for key in LATENT_WIDTH:
        if full.get(key) is not None and latent is not None:
            if full[key] % latent.published:
                raise OmniportError(
                    f"transformer config: {key}={full[key]} is no multiple of the {latent.published} latent channels "
                    f"of {latent.component}; no rule makes it tiny"
                )
            tiny[key] = full[key] // latent.published * latent.tiny
    inner = heads * head_dim if isinstance(heads, int) and isinstance(head_dim, int) else None
    for key in TEXT_WIDTH:
        if full.get(key) is not None and key in TEXT_OR_INNER and full[key] == inner:
            tiny[key] = TRANSFORMER_SIZES["num_attention_heads"] * HEAD_DIM  # of the text that was projected before
        elif full.get(key) is not None:
            tiny[key] = _text_width(key, full[key], text)
    return tiny


def _text_width(key: str, value: int, text: list[Width]) -> int:
    for count in range(1, len(text) + 1):
        for chosen in combinations(text, count):
            if sum(w.published for w in chosen) == value:
                return sum(w.tiny for w in chosen)
    known = ", ".join(f"{w.component}: {w.published}" for w in text) or "none"
    raise OmniportError(
        f"transformer config: {key}={value} is the width of no text encoder ({known}); no rule makes it tiny"
    )


def scale_axes(axes: list[int], head_dim: int) -> list[int]:
    """Scale rope axes to a smaller head: even, at least 2, in proportion, adding up to ``head_dim``."""
    total = sum(axes)
    scaled = [max(2, round(a * head_dim / total / 2) * 2) for a in axes]
    while (excess := sum(scaled) - head_dim) != 0:
        step = -2 if excess > 0 else 2
        # Take from, or give to, the axis whose share is furthest off, never below 2.
        candidates = [i for i, s in enumerate(scaled) if s + step >= 2]
        if not candidates:
            raise OmniportError(f"{len(axes)} rope axes do not fit a head of {head_dim}")
        best = max(candidates, key=lambda i: (scaled[i] - axes[i] * head_dim / total) * (-step))
        scaled[best] += step
    return scaled


def recipe_for(class_name: str) -> Recipe:
    """The recipe of an encoder or VAE class.

    Raises:
        OmniportError: there is none.
    """
    recipe = ENCODERS.get(class_name) or VAES.get(class_name)
    if recipe is None:
        known = ", ".join(sorted([*ENCODERS, *VAES]))
        raise OmniportError(f"no recipe makes a tiny {class_name}; there are recipes for {known}")
    return recipe
