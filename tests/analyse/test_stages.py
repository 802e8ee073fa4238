"""Whether the blocks of a transformer are a plain run that stages of a pipeline can share."""

from __future__ import annotations

import pytest

from omniport.analyse.stages import plan_stages
from omniport.plan.model import BlockListPlan, StagedList, Why
from omniport.source.normal import NormalForm

INIT = "self.blocks = nn.ModuleList([Block(dim) for _ in range(depth)])"
LOOP = "for block in self.blocks:\n    x = block(x, temb)"


def made(init: str = INIT, body: str = LOOP, lists: tuple[str, ...] = ("blocks",)) -> tuple[object, str]:
    """The plan of a root with ``init`` and a forward with ``body``, and the reason of its feature."""
    text = "class Root(nn.Module):\n    def __init__(self, dim=4, depth=12, small=2):\n"
    text += "".join(f"        {line}\n" for line in init.splitlines())
    text += "    def forward(self, x, temb, return_dict=True):\n"
    text += "".join(f"        {line}\n" for line in [*body.splitlines(), "return (x,)"])
    normal = NormalForm(text, "Root", (None,) * text.count("\n"))
    plan, feature = plan_stages(normal, tuple(BlockListPlan(name, "Block", 3, Why("")) for name in lists))
    assert feature.name == "pipeline parallelism" and feature.supported == (plan is not None)
    return plan, feature.why.reason


def test_a_plain_run_is_shared() -> None:
    plan, reason = made()
    assert plan is not None and plan.lists == (StagedList("blocks", "depth"),)  # type: ignore[attr-defined]
    assert plan.streams == ("x",) and plan.fresh == ()  # type: ignore[attr-defined]
    assert reason == "blocks: every block takes and gives x"


TWO = f"{INIT}\nself.others = nn.ModuleList([Block(dim) for _ in range(small)])"
BOTH = f"{LOOP}\nfor block in self.others:\n    x = block(x, temb)"


def test_lists_one_right_after_the_other_are_one_run() -> None:
    plan, _ = made(TWO, BOTH, ("blocks", "others"))
    assert plan is not None
    assert plan.lists == (StagedList("blocks", "depth"), StagedList("others", "small"))  # type: ignore[attr-defined]


def test_short_lists_in_front_run_on_every_stage() -> None:
    body = f"for block in self.others:\n    x = block(x, temb)\nx = x * 2\n{LOOP}"
    plan, reason = made(TWO, body, ("blocks", "others"))
    assert plan is not None and reason.endswith("; every stage runs others")
    assert made(TWO.replace("small", "depth"), body, ("blocks", "others"))[0] is None


@pytest.mark.parametrize(
    ("before", "fresh"),
    [
        ("temb = temb * x.mean()", ("temb",)),
        ("if x.sum() > 0:\n    temb = temb * 2", ("temb",)),
        ("temb = temb.repeat(x.shape[0], 1).to(x.dtype)", ()),
        ("n = len(x)\ntemb = temb[:n]", ("temb",)),  # what a call makes of them is not known
        ("y = self.norm(x)\ntemb = temb + y", ("temb",)),
    ],
)
def test_what_depends_on_the_latents_is_named(before: str, fresh: tuple[str, ...]) -> None:
    plan, _ = made(body=f"{before}\n{LOOP}")
    assert plan is not None and plan.fresh == fresh  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("init", "body", "reason"),
    [
        (INIT, "for i, block in enumerate(self.blocks):\n    x = block(x, i)", "given their place"),
        (INIT, "for block in self.blocks:\n    x = block(x, temb)\n    x = x + 1", "more than to call"),
        (INIT, "for block in self.blocks:\n    x = x + block(x, temb)", "more than to call"),
        (INIT, "for block in self.blocks:\n    y = block(x, temb)", "is not what it takes"),
        (INIT, "if temb is None:\n    for block in self.blocks:\n        x = block(x)", "under a condition"),
        (INIT, f"temb = self.blocks[0].norm(temb)\n{LOOP}", "outside its loop"),
        (INIT, f"{LOOP}\n{LOOP}", "run twice"),
        (INIT, "x = x + 1", "no loop"),
        ("self.blocks = nn.ModuleList([Block(dim)] * depth)", LOOP, "one comprehension"),
        ("n = depth\nself.blocks = nn.ModuleList([Block(dim) for _ in range(n)])", LOOP, "one comprehension"),
        ("self.blocks = nn.ModuleList([Block(dim) for i in range(depth) if i])", LOOP, "one comprehension"),
    ],
)
def test_what_is_no_plain_run_is_left_whole(init: str, body: str, reason: str) -> None:
    plan, said = made(init, body)
    assert plan is None and reason in said


def test_lists_on_different_streams_are_left_whole() -> None:
    body = BOTH.replace("self.others:\n    x = block(x, temb)", "self.others:\n    x, temb = block(x, temb)")
    plan, reason = made(TWO, body, ("blocks", "others"))
    assert plan is None and "different streams" in reason
