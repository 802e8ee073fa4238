"""Tiny configs from constructor defaults, and the recipes that they are completed with."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from omniport.corpus.classes import corpus_classes
from omniport.source.tree import SourceTree
from omniport.verify.classes import ENTRIES
from omniport.verify.components.denoisers import DENOISERS
from omniport.verify.defaults import tiny_defaults

DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "num_layers": 19,
    "num_single_layers": 38,
    "in_channels": 64,
    "out_channels": 16,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 24 * 128,
    "axes_dims_rope": (16, 56, 56),
    "guidance_embeds": False,
    "num_key_value_heads": 8,
    "image_dim": None,
}


def test_widths_fit_together() -> None:
    tiny = tiny_defaults(DEFAULTS, {})
    assert tiny["num_attention_heads"] * tiny["attention_head_dim"] == tiny["caption_projection_dim"] == 64
    assert sum(tiny["axes_dims_rope"]) == tiny["attention_head_dim"] and isinstance(tiny["axes_dims_rope"], tuple)
    assert tiny["in_channels"] == 4 * tiny["out_channels"]
    assert tiny["num_key_value_heads"] == 2
    assert 2 <= tiny["num_layers"] < tiny["num_single_layers"]


def test_heads_that_are_not_grouped_stay_so() -> None:
    assert tiny_defaults({**DEFAULTS, "num_key_value_heads": 24}, {})["num_key_value_heads"] == 4
    assert tiny_defaults({**DEFAULTS, "num_key_value_heads": None}, {})["num_key_value_heads"] is None


def test_what_is_switched_off_stays_off_unless_a_recipe_says_so() -> None:
    assert tiny_defaults(DEFAULTS, {})["image_dim"] is None
    assert tiny_defaults(DEFAULTS, {"image_dim": 52, "guidance_embeds": True}) | {"image_dim": 52} == tiny_defaults(
        DEFAULTS, {"image_dim": 52, "guidance_embeds": True}
    )


def test_no_two_axes_that_could_be_mixed_up_are_alike() -> None:
    tiny = tiny_defaults({**DEFAULTS, "pooled_projection_dim": 768, "text_embed_2_dim": 1472, "ffn_dim": 9}, {})
    widths = [tiny[k] for k in ("joint_attention_dim", "pooled_projection_dim", "text_embed_2_dim", "ffn_dim")]
    assert len({*widths, 64}) == 5


def test_recipes_are_of_classes_that_exist(diffusers: SourceTree) -> None:
    assert not ENTRIES.keys() - corpus_classes(diffusers).keys() - DENOISERS.keys()


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_recipes_give_reasons_and_parse(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.reason or not (entry.config or entry.inputs)
    for form in (entry, *entry.variants.values()):
        for expression in (*form.inputs.values(), *form.words.values()):
            if expression:
                ast.parse(expression, mode="eval")
    assert all(variant.reason for variant in entry.variants.values())
