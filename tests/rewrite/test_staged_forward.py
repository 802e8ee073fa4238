"""The forward of a stage: all stages together compute what one rank computes, wherever the blocks are cut."""

from __future__ import annotations

from itertools import combinations, islice
from typing import Any

import libcst as cst
import pytest

from omniport.analyse.stages import plan_stages
from omniport.errors import UnsupportedError
from omniport.plan.model import BlockListPlan, StagesPlan, Why
from omniport.rewrite.root import LOAD_PLAIN
from omniport.rewrite.stages import share_blocks
from omniport.source.normal import NormalForm


class Number(float):
    """What stands for a tensor."""

    shape = (3,)

    def contiguous(self) -> Number:
        return self

    def __add__(self, other: float) -> Number:
        return Number(float(self) + other)

    def __mul__(self, other: float) -> Number:
        return Number(float(self) * other)

    __radd__, __rmul__ = __add__, __mul__


class Block:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, *streams: float) -> Any:
        mixed = sum(streams) * 0.25
        given = tuple(Number(stream * self.weight + mixed) for stream in streams[:2])
        return given if len(given) > 1 else given[0]


class Alone(Block):
    """A block of one stream, which takes numbers besides."""

    def __call__(self, *streams: float) -> Any:
        return Number(streams[0] * self.weight + sum(streams[1:]))


class Missing:
    """A block of another stage, which no stage calls."""


INIT = (
    "self.first = nn.ModuleList([{first}(1 + i) for i in range(a)])\n"
    "self.second = nn.ModuleList([{second}(2 + i) for i in range(b)])\n"
)

FORMS = {
    "counted": (
        "Alone Alone",
        "for i, block in enumerate(self.first):\n"
        "    bias = y if i in (1, 2) else 0\n"
        "    x = block(x, bias)\n"
        "for i, block in enumerate(self.second):\n"
        "    if i != 1:\n        x = block(x, i)\n",
    ),
    "a counter of all blocks": (
        "Block Alone",
        "n = 0\n"
        "for block in self.first:\n    y = y + texts[n]\n    n += 1\n    x, y = block(x, y)\n"
        "for block in self.second:\n    x = x + y + texts[n]\n    n += 1\n    x = block(x)\n    y = x * 2\n",
    ),
    "counted under a condition": (
        "Alone Alone",
        "hints = [y, y * 2, y * 3]\nhints = hints[::-1]\nn = 0\n"
        "for i, block in enumerate(self.first):\n"
        "    x = block(x)\n"
        "    if i % 2 == 0:\n        hint, scale = hints.pop(), 2\n        x = x + hint * scale\n"
        "for block in self.second:\n    x = block(x, texts[n])\n    n += 1\n",
    ),
    "joined between": (
        "Block Alone",
        "for i, block in enumerate(self.first):\n    y, x = block(y, x, i)\n"
        "size = y.shape[0]\n"
        "x = x * 10 + y\n"
        "width = x.shape[0] + size\n"
        "for i, block in enumerate(self.second):\n    x = block(x, i, texts[i], width)\n"
        "x = x + size + y.shape[0]\n",
    ),
    "joined between, and what the last block saw": (
        "Block Alone",
        "n = 0\nseen = None\n"
        "for block in self.first:\n    seen = texts[n]\n    x, y = block(x, y, seen)\n    n += 1\n"
        "x = x * 10 + y\nwidth = seen * 2\n"
        "for block in self.second:\n    seen = texts[n]\n    x = block(x, width, seen)\n    n += 1\n",
    ),
    "if there are any": (
        "Block Alone",
        "for block in self.first:\n    x, y = block(x, y)\n"
        "if len(self.second) > 0:\n"
        "    size = y.shape[0]\n"
        "    both = x * 10 + y\n"
        "    for block in self.second:\n        both = block(both)\n"
        "    x = both - size\n",
    ),
}


def source(kinds: str, body: str) -> str:
    first, second = kinds.split()
    lines = INIT.format(first=first, second=second).splitlines()
    text = "class Root(nn.Module):\n    def __init__(self, a=4, b=3):\n"
    text += "".join(f"        {line}\n" for line in lines)
    text += "    def forward(self, x, y, texts, return_dict=True):\n"
    text += "".join(f"        {line}\n" for line in [*body.splitlines(), "return (x,)"])
    return text


def planned(text: str, lists: tuple[str, ...] = ("first", "second")) -> StagesPlan:
    normal = NormalForm(text, "Root", (None,) * text.count("\n"))
    plan, feature = plan_stages(normal, tuple(BlockListPlan(name, "Block", 3, Why("")) for name in lists))
    assert plan is not None, feature.why.reason
    return plan


def written(text: str, plan: StagesPlan) -> str:
    load = "\n".join(f"    {line}" if line else "" for line in LOAD_PLAIN.strip().splitlines())
    return share_blocks(cst.parse_module(f"{text}\n{load}\n"), plan, "Root").code


def run(code: str, cuts: tuple[int, ...]) -> float:
    """What stages that end at ``cuts`` compute, the last one's end included."""
    sent: Any = None
    names: dict[str, Any] = {
        "nn": type("nn", (), {"Module": object, "ModuleList": list}),
        "Block": Block,
        "Alone": Alone,
        "PPMissingLayer": Missing,
        "islice": islice,
        "IntermediateTensors": dict,
        "torch": type("torch", (), {"Tensor": object}),
        "Iterable": tuple,
        "get_pipeline_parallel_rank": lambda: 0,
        "get_pipeline_parallel_world_size": lambda: 2,
    }
    names["nn"].Module = type("Module", (), {})
    for at, end in enumerate(cuts):
        start = cuts[at - 1] if at else 0
        names["is_pipeline_first_stage"] = lambda at=at: at == 0
        names["is_pipeline_last_stage"] = lambda at=at: at == len(cuts) - 1
        names["get_pp_indices"] = lambda total, rank, size, share=(start, end): share
        scope = dict(names)
        exec(code, scope)
        stage = scope["Root"]()
        more = {"intermediate_tensors": sent} if at else {}
        (sent,) = stage.forward(Number(1.5), Number(0.5), [float(n) for n in range(7)], **more)
    return float(sent)


def whole(text: str) -> float:
    scope: dict[str, Any] = {
        "nn": type("nn", (), {"Module": type("Module", (), {}), "ModuleList": list}),
        "Block": Block,
        "Alone": Alone,
    }
    exec(text, scope)
    (given,) = scope["Root"]().forward(Number(1.5), Number(0.5), [float(n) for n in range(7)])
    return float(given)


@pytest.mark.parametrize("form", FORMS)
def test_stages_compute_what_one_rank_computes_wherever_they_are_cut(form: str) -> None:
    text = source(*FORMS[form])
    plan = planned(text)
    code = written(text, plan)
    for cut in range(1, 7):
        assert run(code, (cut, 7)) == whole(text), cut
    if not plan.fresh:
        for cuts in combinations(range(1, 7), 2):
            assert run(code, (*cuts, 7)) == whole(text), cuts


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("counted", "islice(enumerate(self.first), self.start_layer, self.end_layer)", "enumerate(self.first[2:4])"),
        ("a counter of all blocks", "n += self.start_layer", "n += 0"),
        ("counted under a condition", "hints.pop()", "hints.pop(0)"),
        ("joined between", "if self.start_layer <= len(self.first):", "if self.start_layer < len(self.first):"),
        ("joined between", " and self.end_layer <= len(self.first)", ""),
        ("joined between, and what the last block saw", "in range(min(", "in range(0 * min("),
        ("if there are any", 'both = intermediate_tensors["both"]', "pass"),
    ],
)
def test_a_mistake_of_a_stage_shows(form: str, old: str, new: str) -> None:
    text = source(*FORMS[form])
    code = written(text, planned(text))
    assert old in code, code
    broken = code.replace(old, new, 1)
    results = []
    for cut in range(1, 7):
        try:
            results.append(run(broken, (cut, 7)))
        except (KeyError, TypeError, UnboundLocalError, IndexError, ValueError):
            results.append(None)  # type: ignore[arg-type]
    assert any(result != whole(text) for result in results)


def test_lists_side_by_side_are_cut_at_one_place() -> None:
    body = (
        "for i, (left, right) in enumerate(zip(self.first, self.second)):\n"
        "    x = left(x, i)\n    if i == 0:\n        x = x + y\n    x = right(x)\n"
    )
    text = source("Alone Alone", body).replace("range(b)", "range(a)")
    code = written(text, planned(text))
    assert code.count("if self.start_layer <= i < self.end_layer else PPMissingLayer()") == 2
    for cut in range(1, 4):
        assert run(code, (cut, 4)) == whole(text)


def test_both_branches_of_a_condition_run_the_blocks() -> None:
    body = (
        "if len(texts) > 5:\n    scale = y * 2\n    for block in self.first:\n        x = block(x, scale)\n"
        "else:\n    for block in self.first:\n        x = block(x)\n"
    )
    text = source("Alone Alone", body)
    code = written(text, planned(text, ("first",)))
    assert code.count("islice(self.first, self.start_layer, self.end_layer)") == 2
    for cut in range(1, 4):
        assert run(code, (cut, 4)) == whole(text)


def test_a_finished_forward_that_differs_from_the_plan_is_refused() -> None:
    text = source(*FORMS["joined between"])
    plan = planned(text)
    with pytest.raises(UnsupportedError, match="does not run"):
        written(text.replace("y, x = block(y, x, i)", "x = block(x, i)"), plan)
    with pytest.raises(UnsupportedError, match="outside|left before"):
        written(text.replace("    x = block(x, i, texts[i], width)", "    x = block(x)\n            break"), plan)
