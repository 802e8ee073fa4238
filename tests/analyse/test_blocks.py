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
            3,  # passed by position, so that the name does not matter
        ),
        (
            BOTH
            | {"rest": "out = hidden_states", "returned": "out, hidden_states"}
            | {"call": "hidden_states, skip = block(hidden_states, encoder_hidden_states)"},
            4,
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


def test_a_block_used_past_its_forward() -> None:
    parts = BOTH | {"params": "hidden_states", "rest": "pass", "returned": "hidden_states"}
    code = TWO.format(**parts, call="hidden_states = block(hidden_states)")
    for text, hsdp, layerwise, reached in (
        ("hidden_states", True, True, ()),
        ("self.blocks[0].lin(hidden_states)", True, True, ("blocks.0.lin",)),  # the last block's hook brings the first
        ("self.blocks[1].lin(hidden_states)", True, False, ("blocks.1.lin",)),
        ("self.blocks[0].lin.weight", False, False, ()),
    ):
        found = plan_parallel(normal_form(code.replace("return (hidden_states,)", f"return ({text},)"), "Root"))
        features = {f.name: f.supported for f in found.features}
        assert (features["hsdp"], features["layerwise offload"]) == (hsdp, layerwise), text
        assert features["compile"] and features["cache-dit"]
        assert found.blocks[0].reached == reached
        assert found.blocks[0].cache == ("stack" if text == "hidden_states" else "blocks")


LOOPS = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.lin = nn.Linear(dim, dim)

    def forward(self, hidden_states, temb=None):
        return hidden_states + self.lin(hidden_states)


class Root(nn.Module):
    def __init__(self, channels: int = 4, depth: int = 24, others: int = 24):
        super().__init__()
        self.blocks = nn.ModuleList([Block(channels) for _ in range(depth)])
        self.others = nn.ModuleList([Block(channels) for _ in range(others)])

    def forward(self, hidden_states, tembs):
        for block in self.others:
            hidden_states = block(hidden_states)
        {loop}
        return (hidden_states,)
"""


@pytest.mark.parametrize(
    ("loop", "cache", "reason"),
    [
        (
            "for block in self.blocks:\n            hidden_states = block(hidden_states, tembs)",
            "stack",
            "gives back hidden_states",
        ),
        (
            "for block in self.blocks:\n            temb = tembs + 1\n"
            "            hidden_states = block(hidden_states, temb)",
            "stack",
            "gives back hidden_states",
        ),
        (
            "for i, block in enumerate(self.blocks):\n            hidden_states = block(hidden_states)",
            "stack",
            "gives back",
        ),
        (
            "for i, block in enumerate(self.blocks):\n            hidden_states = block(hidden_states, tembs[i])",
            "blocks",
            "something by i",
        ),
        (
            "for block in self.blocks:\n            hidden_states = block(hidden_states)"
            "\n            hidden_states = hidden_states + 1",
            "blocks",
            "more than to call",
        ),
        (
            "for block in self.blocks:\n            if tembs is not None:\n                "
            "hidden_states = block(hidden_states)",
            "blocks",
            "under a condition",
        ),
        (
            "for a, block in zip(tembs, self.blocks):\n            hidden_states = block(hidden_states, a)",
            "blocks",
            "side by side",
        ),
        ("for block in self.blocks[1:]:\n            hidden_states = block(hidden_states)", "blocks", "a part of"),
        (
            "for block in self.blocks:\n            hidden_states = block(hidden_states)\n"
            "        hidden_states = hidden_states * len(self.blocks)",
            "blocks",
            "len(self.blocks)",
        ),
        (
            "for block in self.blocks[:2]:\n            hidden_states = block(hidden_states)\n"
            "        late = hidden_states\n        for block in self.blocks[2:]:\n            late = block(late)",
            "",
            "different streams",
        ),
        (
            "for block in self.blocks:\n            hidden_states = hidden_states + block(hidden_states)",
            "",
            "more than",
        ),
        ("for block in self.blocks:\n            other = block(hidden_states)", "", "not what it gives back"),
    ],
)
def test_how_a_loop_can_be_cached(loop: str, cache: str, reason: str) -> None:
    blocks, others = plan_parallel(normal_form(LOOPS.replace("{loop}", loop), "Root")).blocks
    assert (blocks.cache, others.cache) == (cache, "stack")
    assert reason in blocks.why.reason and blocks.why.line > 0


def test_a_list_shorter_than_what_cache_dit_computes_is_left_alone() -> None:
    loop = "for block in self.blocks:\n            hidden_states = block(hidden_states)"
    code = LOOPS.replace("{loop}", loop)
    for text, wanted in (
        (code, ["stack", "stack"]),
        (code.replace("others: int = 24", "others: int = 2"), ["stack", ""]),
        (code.replace("= 24", "= 2"), ["stack", "stack"]),  # nothing else is there to cache
    ):
        assert [b.cache for b in plan_parallel(normal_form(text, "Root")).blocks] == wanted


def test_of_two_streams_without_names_none_is_cached() -> None:
    parts = {"params": "und, gen", "first": "und", "rest": "pass", "returned": "und, gen"}
    found = plan_parallel(normal_form(TWO.format(**parts, call=f"{PAIR} = block({PAIR})"), "Root"))
    assert found.blocks[0].cache == "" and "which of them is denoised" in found.blocks[0].why.reason


def test_a_list_that_some_configurations_lack_is_not_streamed() -> None:
    parts = BOTH | {"params": "hidden_states", "rest": "pass", "returned": "hidden_states"}
    code = TWO.format(**parts, call="hidden_states = block(hidden_states)")
    made = "self.blocks = nn.ModuleList([Block(channels) for _ in range(depth)])"
    sometimes = f"self.channels = channels\n        if channels > 4:\n            {made}"
    for text, supported in ((made, True), (sometimes, False)):
        found = plan_parallel(normal_form(code.replace(made, text), "Root"))
        feature = next(f for f in found.features if f.name == "layerwise offload")
        assert feature.supported is supported
        assert ("some configurations have none of the lists blocks" in feature.why.reason) is not supported
