"""Packed experts: what the ranks share, what they are called with, and where their results are summed up."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from omniport.analyse.experts import experts
from omniport.plan.model import Decision, Why
from omniport.rewrite.experts import rewrite_experts
from tests.support.normal import HEAD, block_model, normal_form, transformer_plan

IMPORT = "from diffusers.models.transformers.transformer_nucleusmoe_image import SwiGLUExperts\n"
INIT = """
    self.num = num
    self.experts = SwiGLUExperts(
        hidden_size=dim, moe_intermediate_dim=4 * dim, num_experts=num, use_grouped_mm=fast
    )
"""
FORWARD = """
rows = len(x) // self.num
counts = torch.full((self.num,), rows, dtype=torch.long)
y = self.experts(x, counts)
y = (y.float() * gate.unsqueeze(-1)).to(x.dtype)
out = shared
out = out.scatter_add(dim=0, index=index, src=y)
return out
"""


def module(forward: str, init: str = INIT) -> str:
    text = f"{HEAD}{IMPORT}\n\nclass Layer(nn.Module):\n    def __init__(self, dim, num, fast):\n"
    text += textwrap.indent(textwrap.dedent(init).strip(), " " * 8)
    text += "\n\n    def forward(self, x, gate, index, shared):\n"
    return text + textwrap.indent(textwrap.dedent(forward).strip(), " " * 8) + "\n"


def decided(forward: str, init: str = INIT) -> Decision:
    (found,) = experts(normal_form(module(forward, init), "Layer"))
    assert found.subject == "experts Layer.experts" and found.why.line
    return found


def rewritten(forward: str) -> str:
    from omniport.analyse.parallel import plan_parallel

    normal = block_model("self.lin = nn.Linear(dim, dim)", "return x + self.lin(x)")
    plan = transformer_plan(normal, plan_parallel(normal))
    plan = plan.__class__(**{**plan.__dict__, "decisions": (Decision("experts Layer.experts", "sharded", Why("")),)})
    (node,) = (n for n in cst.parse_module(module(forward)).body if isinstance(n, cst.ClassDef))
    return cst.Module([rewrite_experts(node, plan)]).code


def test_as_many_rows_for_each_can_be_shared() -> None:
    assert decided(FORWARD).value == "sharded"


@pytest.mark.parametrize(
    ("forward", "init"),
    [
        (FORWARD.replace("torch.full((self.num,), rows, dtype=torch.long)", "torch.bincount(index)"), INIT),
        (FORWARD.replace("y = self.e", "counts = counts - 1\ny = self.e"), INIT),
        (FORWARD.replace("self.experts(x, counts)", "self.experts(x, torch.bincount(index))"), INIT),
        (FORWARD, "self.num = num\nself.experts = SwiGLUExperts(dim, 4 * dim, num)"),
    ],
)
def test_other_experts_stay_whole(forward: str, init: str) -> None:
    found = decided(forward, init)
    assert found.value == "whole" and found.why.reason


def test_results_are_summed_where_they_meet_the_tokens() -> None:
    text = rewritten(FORWARD)
    assert "self.experts = ShardedExperts(" in text and "use_grouped_mm" not in text
    assert "y = self.experts(x)\n" in text and "counts" not in text and "rows" not in text
    total = "out + tensor_model_parallel_all_reduce(torch.zeros_like(out).scatter_add(dim=0, index=index, src=y))"
    assert f"out = {total}\n" in text and text.count("all_reduce") == 1


@pytest.mark.parametrize(
    "use",
    [
        "y = y.relu()\nout = out.scatter_add(dim=0, index=index, src=y)",  # not the sum of the ranks' values
        "y = y * y\nout = out.scatter_add(dim=0, index=index, src=y)",
        "y = y + shared\nout = out.scatter_add(dim=0, index=index, src=y)",
        "out = out.scatter_add(dim=0, index=index, src=y) + y",
        "out = out.scatter(dim=0, index=index, src=y)",
        "out = out.scatter_add(dim=0, index=index, src=y)\nout = out + y",  # it is used again
    ],
)
def test_results_are_summed_at_once_elsewhere(use: str) -> None:
    forward = FORWARD.replace("y = (y.float() * gate.unsqueeze(-1)).to(x.dtype)\n", "").replace(
        "out = out.scatter_add(dim=0, index=index, src=y)", use
    )
    lines = [line.strip() for line in rewritten(forward).splitlines()]
    at = lines.index("y = self.experts(x)")
    assert lines[at + 1] == "y = tensor_model_parallel_all_reduce(y)"
    assert sum("all_reduce" in line for line in lines) == 1
