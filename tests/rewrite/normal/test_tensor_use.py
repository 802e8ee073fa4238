"""A parameter that None would not survive is told from one that may be None."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.normal.tensor_use import used_as_tensor

CLASS = """
class A(nn.Module):
    def __init__(self, width):
        self.lin = nn.Linear(width, width)
        self.same = nn.Identity()
        self.own = Own(width)
        self.either = nn.SiLU()
        self.either = Own(width)

    def forward(self, x, y):
        {lines}
"""


def used(*lines: str) -> bool:
    text = CLASS.format(lines="\n        ".join(lines))
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.ClassDef)
    forward = node.body.body[-1]
    assert isinstance(forward, cst.FunctionDef)
    return used_as_tensor(node, forward, "y")


@pytest.mark.parametrize(
    "line",
    [
        "return self.lin(y)",
        "return F.silu(self.lin(y)) + x",
        "return x * y[:, None]",
        "a, b = y.chunk(2, dim=1)",
        "return torch.cat([x, y], dim=1)",
        "return (y + 1 if x is None else x) if y.shape else x",
        "y = y * 2",
    ],
)
def test_what_none_does_not_survive(line: str) -> None:
    assert used("x = x + 1", line)


@pytest.mark.parametrize(
    "lines",
    [
        ["return self.own(y)"],  # may ask for None
        ["return self.same(y)"],
        ["return self.either(y)"],
        ["return f(x, y)"],
        ["x = self.lin(y) if x is None else x"],
        ["x = y is not None and y.shape"],
        ["x = [y[0] for _ in x]"],
        ["if y is not None:", "    x = x + y", "return x"],
        ["if y is None:", "    y = x", "return x + y"],
        ["y = f(y)", "return x + y"],
        ["if x is None:", "    return x", "return x + y"],
        ["return x", "x = x + y"],
        ["return x"],
    ],
)
def test_what_may_be_none(lines: list[str]) -> None:
    assert not used(*lines)
