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
    longer, reason = made(TWO.replace("small", "depth"), body, ("blocks", "others"))
    assert longer is not None and [item.attribute for item in longer.lists] == ["others", "blocks"]  # type: ignore[attr-defined]
    assert reason.endswith("; in blocks, x, made by the stage of its first block")


@pytest.mark.parametrize(
    ("body", "streams", "reason"),
    [
        ("for i, block in enumerate(self.blocks):\n    x = block(x, i)", ("x",), "from block to block goes x"),
        ("for block in self.blocks:\n    x = block(x, temb)\n    x = x + 1", ("x",), "from block to block goes x"),
        ("for block in self.blocks:\n    x = x + block(x, temb)", ("x",), "takes and gives x"),
        ("n = 0\nfor block in self.blocks:\n    x = block(x, temb[n])\n    n += 1", ("x",), "makes n anew"),
        ("for block in self.blocks:\n    x, _ = block(x, temb)", ("x",), "takes and gives x"),
        ("size = len(self.blocks)\nfor block in self.blocks:\n    x = block(x, size)", ("x",), "takes and gives x"),
        ("for block in self.blocks:\n    y = x\n    x = block(x, y)", ("x",), "goes x"),
        (
            "for block in self.blocks:\n    x, temb = block(x, temb)\nx = x[:, : temb.shape[1]]",
            ("x", "temb"),
            "x, temb",
        ),
    ],
)
def test_what_goes_from_block_to_block_is_found(body: str, streams: tuple[str, ...], reason: str) -> None:
    plan, said = made(body=body)
    assert plan is not None and plan.streams == streams and reason in said  # type: ignore[attr-defined]


def test_what_blocks_are_given_under_a_condition_in_the_constructor_is_one_list() -> None:
    either = f"if dim > 4:\n    {INIT}\nelse:\n    {INIT.replace('Block(dim)', 'Other(dim)')}"
    assert made(either)[0] is not None
    plan, reason = made(either.replace("Block(dim) for _ in range(depth)", "Block(dim) for _ in range(small)"))
    assert plan is None and "one comprehension" in reason


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
        (INIT, "for i, block in enumerate(self.blocks, 1):\n    x = block(x, i)", "which blocks these are"),
        (INIT, "for block in self.blocks[1:]:\n    x = block(x)", "which blocks these are"),
        (INIT, "for block in reversed(self.blocks):\n    x = block(x)", "which blocks these are"),
        (INIT, "for block in self.blocks:\n    x = block.norm(x)", "does not call its block"),
        (INIT, "for block in self.blocks:\n    x = block(x) if block.wide else block(x, temb)", "than to call it"),
        (INIT, "for block in self.blocks:\n    x = block(x)\n    if temb is None:\n        break", "is left before"),
        (
            INIT,
            "all = []\nfor block in self.blocks:\n    x = block(x)\n    all.append(x)\nx = sum(all)",
            "all holds what",
        ),
        (INIT, "for block in self.blocks:\n    y = block(x)\nx = y", "y is not there before"),
        (INIT, "for block in self.blocks:\n    y = block(x, temb)", "is not what it takes"),
        (INIT, "if temb is None:\n    for block in self.blocks:\n        x = block(x)", "under a condition"),
        (INIT, f"temb = self.blocks[0].norm(temb)\n{LOOP}", "outside its loop"),
        (f"{INIT}\nfor block in self.blocks:\n    block.reset()", LOOP, "outside its loop: another stage"),
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


def test_lists_on_different_streams_hand_on_all_of_them() -> None:
    body = BOTH.replace("self.others:\n    x = block(x, temb)", "self.others:\n    x, temb = block(x, temb)")
    plan, _ = made(TWO, body, ("blocks", "others"))
    assert plan is not None and plan.streams == ("x", "temb")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ("x = x * 2\ntemb = temb * 2\nx = x + 1", "is mixed with other values"),
        ("if temb is None:\n    for block in self.more:\n        x = block(x)", "under a condition"),
    ],
)
def test_what_happens_between_lists_must_be_one_piece(between: str, reason: str) -> None:
    init = TWO.replace("range(small)", "range(depth)") + "\n" + INIT.replace("self.blocks", "self.more")
    body = f"for block in self.others:\n    x = block(x, temb)\n{between}\n{LOOP}"
    plan, said = made(init, body, ("blocks", "others", "more"))
    assert plan is None and reason in said


def test_a_long_list_that_no_loop_runs_keeps_the_blocks_whole() -> None:
    init, body = TWO.replace("range(small)", "range(depth)"), f"{LOOP}\nlate = self.others\nx = late[0](x)"
    plan, reason = made(init, body, ("blocks", "others"))
    assert plan is None and "others is run otherwise" in reason
    assert made(TWO, body, ("blocks", "others"))[0] is not None, "a short one may be on every stage"


def test_what_two_branches_run_alike_is_one_run() -> None:
    either = "if temb is None:\n    for block in self.blocks:\n        x = block(x)\nelse:\n    y = temb * 2\n"
    plan, _ = made(body=f"{either}    for block in self.blocks:\n        x = block(x, y)")
    assert plan is not None and plan.streams == ("x",)  # type: ignore[attr-defined]
    other = f"{either}    for block in self.others:\n        x = block(x, y)"
    assert made(TWO, other, ("blocks", "others"))[1] == "a condition chooses how the blocks are run"
