"""Block lists and cache-dit's patterns."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import plan_parallel
from tests.support.normal import CANVAS, block_model, normal_form

TWO = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.lin = nn.Linear(dim, dim)

    def forward(self, {params}):
        {first} = {first} + self.lin({first})
        {rest}
        return {returned}


class Root(nn.Module):
    def __init__(self, channels: int = 4, depth: int = 2):
        super().__init__()
        self.blocks = nn.ModuleList([Block(channels) for _ in range(depth)])

    def forward(self, hidden_states, encoder_hidden_states):
        for block in self.blocks:
            {call}
        return (hidden_states,)
"""
BOTH = {"params": "hidden_states, encoder_hidden_states", "first": "hidden_states"}
PAIR = "hidden_states, encoder_hidden_states"


@pytest.mark.parametrize(
    ("parts", "pattern"),
    [
        (BOTH | {"rest": "pass", "returned": PAIR, "call": f"{PAIR} = block({PAIR})"}, 0),
        (
            BOTH
            | {
                "rest": "pass",
                "returned": "encoder_hidden_states, hidden_states",
                "call": f"encoder_hidden_states, hidden_states = block({PAIR})",
            },
            1,
        ),
        (BOTH | {"rest": "pass", "returned": "hidden_states", "call": f"hidden_states = block({PAIR})"}, 2),
        (
            BOTH
            | {"params": "hidden_states", "rest": "pass", "returned": "hidden_states"}
            | {"call": "hidden_states = block(hidden_states)"},
            3,
        ),
        (
            BOTH
            | {"rest": "out = hidden_states", "returned": "encoder_hidden_states, out"}
            | {"call": f"encoder_hidden_states, hidden_states = block({PAIR})"},
            1,  # by what the values are, not by their names
        ),
        (
            {"params": "x", "first": "x", "rest": "pass", "returned": "x"}
            | {"call": "hidden_states = block(hidden_states)"},
            None,  # cache-dit asks for hidden_states
        ),
    ],
)
def test_patterns(parts: dict[str, str], pattern: int | None) -> None:
    found = plan_parallel(normal_form(TWO.format(**parts), "Root"))
    assert [(b.attribute, b.class_name, b.pattern) for b in found.blocks] == [("blocks", "Block", pattern)]
    assert {f.name: f.supported for f in found.features}["cache-dit"] is (pattern is not None)


def test_canvas_blocks() -> None:
    (blocks,) = plan_parallel(normal_form(CANVAS, "CanvasTransformer")).blocks
    assert (blocks.attribute, blocks.class_name, blocks.pattern) == ("blocks", "CanvasBlock", 2)


def test_a_fixed_list_is_no_block_list() -> None:
    model = block_model("self.items = nn.ModuleList([nn.Linear(dim, dim)])", "return x + self.items[0](x)")
    assert [b.attribute for b in plan_parallel(model).blocks] == ["blocks"]


def test_without_blocks_nothing_is_declared() -> None:
    text = block_model("self.lin = nn.Linear(dim, dim)", "return x + self.lin(x)").code
    text = text.replace(
        "nn.ModuleList([Block(heads * head_dim, heads, head_dim) for _ in range(depth)])", "nn.Identity()"
    )
    text = text.replace("for block in self.blocks:", "if True:").replace(
        "block(x, pooled_projections, context)", "self.blocks(x)"
    )
    found = plan_parallel(normal_form(text, "Root"))
    assert found.blocks == () and not any(f.supported for f in found.features if f.name != "lora")


def test_a_block_used_past_its_forward_is_neither_sharded_nor_offloaded() -> None:
    parts = BOTH | {"params": "hidden_states", "rest": "pass", "returned": "hidden_states"}
    code = TWO.format(**parts, call="hidden_states = block(hidden_states)")
    apart = code.replace("return (hidden_states,)", "return (self.blocks[0].lin(hidden_states),)")
    assert apart != code
    for text, supported in ((code, True), (apart, False)):
        features = {f.name: f for f in plan_parallel(normal_form(text, "Root")).features}
        assert features["hsdp"].supported is supported and features["layerwise offload"].supported is supported
        assert features["compile"].supported
        assert ("uses self.blocks[0].lin itself" in features["hsdp"].why.reason) is not supported
