"""The calls that a transformer class is compared on: tiny configs, inputs, and variants.  Runs in a forked child."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from omniport.verify.checkpoint import constructor_defaults, redraw
from omniport.verify.classes import ENTRIES, Entry, Variant
from omniport.verify.defaults import GROUPS, HEAD_COUNTS, INNER, tiny_defaults
from omniport.verify.inputs import synthesise
from omniport.verify.recipes import HEAD_DIM
from omniport.verify.vocabulary import Sizes

#: Sizes that four ranks can share where those of two ranks do not do.
FOUR_RANKS: dict[str, dict[str, Any]] = {
    # attention over the texts, too, with keys of its own: 2 of 4 heads
    "Krea2Transformer2DModel": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 128, "text_num_key_value_heads": 4,
    },
    # feed-forwards of 8/3 of the width: 170 at 64, 512 at 192, 96 at 36
    "MochiTransformer3DModel": {"num_attention_heads": 12, "pooled_projection_dim": 36},
    "ZImageTransformer2DModel": {"dim": 192, "n_heads": 12, "n_kv_heads": 12},
}  # fmt: skip

EVEN, ODD = Sizes(), Sizes(batch=1, rows=3, columns=5, text=9, frames=2, text2=7)


@dataclass(frozen=True)
class TransformerCase:
    """One config of a transformer class and the calls made with it.

    ``init`` are the constructor's arguments; ``calls`` maps a name to a function that makes the keyword arguments of
    ``forward`` for a model of this config; ``note`` says which published form this is.
    """

    variant: str
    init: dict[str, Any]
    calls: dict[str, Callable[[nn.Module], dict[str, Any]]]
    note: str


def transformer_cases(class_name: str, reference_class: Any, *, variant: str | None = None) -> list[TransformerCase]:
    """Tiny configs and inputs of a transformer class: the default form first, then the published variants.

    Args:
        class_name: as in the reference; recipes are found by it.
        reference_class: the class, for its constructor's defaults.
        variant: only this one.

    Raises:
        UnsupportedError: (from the calls) a parameter of ``forward`` has neither rule nor recipe.
    """
    entry = ENTRIES.get(class_name, Entry())
    forms = {"default": Variant(entry.reason), **entry.variants}
    defaults = constructor_defaults(reference_class)
    return [
        TransformerCase(
            variant=name,
            init=as_published(tiny_defaults(defaults, {**entry.config, **form.config})),
            calls=_calls(entry, form),
            note=form.reason,
        )
        for name, form in forms.items()
        if variant in (None, name)
    ]


def for_four_ranks(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A tiny config with twice the heads where there are too few for four ranks; the size of a head stays."""
    counts = [config[name] for name in (*HEAD_COUNTS, *GROUPS) if isinstance(config.get(name), int)]
    own = {name: value for name, value in FOUR_RANKS.get(class_name, {}).items() if name in config}
    if own or all(count % 4 == 0 for count in counts):
        return {**config, **own}
    widths = [config[name] for name in INNER if isinstance(config.get(name), int)]
    heads = next((config[name] for name in HEAD_COUNTS if isinstance(config.get(name), int)), 1)
    inner = {width for width in widths if width == heads * HEAD_DIM}
    wide = {name: 2 * config[name] for name in (*HEAD_COUNTS, *GROUPS) if isinstance(config.get(name), int)}
    return {**config, **wide, **{name: 2 * config[name] for name in INNER if config.get(name) in inner}}


def as_published(config: dict[str, Any]) -> dict[str, Any]:
    """A config as it comes out of a ``config.json``: lists, not tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


def _calls(entry: Entry, form: Variant) -> dict[str, Callable[[nn.Module], dict[str, Any]]]:
    sizes = {"even": EVEN} if entry.even_only or form.even_only else {"even": EVEN, "odd": ODD}

    def call(lengths: Sizes) -> Callable[[nn.Module], dict[str, Any]]:
        def make(model: nn.Module) -> dict[str, Any]:
            config: dict[str, Any] = dict(model.config)  # type: ignore[arg-type]
            return synthesise(
                model,
                config,
                lengths,
                inputs={**entry.inputs, **form.inputs},
                words={**entry.words, **form.words},
            )

        return make

    return {name: call(replace(lengths, **{**entry.sizes, **form.sizes})) for name, lengths in sizes.items()}


def build_reference(reference_class: Any, case: TransformerCase) -> nn.Module:
    """The reference with this config, in float32, every parameter redrawn."""
    torch.manual_seed(0)
    model: nn.Module = reference_class(**case.init).float().eval()
    redraw(model, "transformer")
    return model
