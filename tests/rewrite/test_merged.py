"""Layers of several parts, of which there may be one."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.plan.model import LinearPlan, Why
from omniport.rewrite.layers import _merged
from omniport.rewrite.syntax import code, expression

SEVERAL = "MergedColumnParallelLinear(dim, {}, bias=False, return_bias=False)"


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (("a", "b"), SEVERAL.format("[a, b]")),
        (("[dim] * n",), SEVERAL.format("[dim] * n")),
        (
            ("[dim] * n", "n > 1"),
            f"{SEVERAL.format('[dim] * n')} if n > 1 else ColumnParallelLinear(dim, dim * n, bias=False, "
            "return_bias=False)",
        ),
    ],
)
def test_one_part_is_a_layer_of_its_own(packed: tuple[str, ...], expected: str) -> None:
    linear = LinearPlan("Block.to_q", "merged", None, None, packed, Why(""))
    call = expression("nn.Linear(dim, dim * n, bias=False)")
    assert isinstance(call, cst.Call)
    assert code(_merged(linear, call, [("return_bias", "False")])) == expected
