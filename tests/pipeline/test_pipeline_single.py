"""A tensor that is joined with nothing is the tensor."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from omniport.rewrite.pipeline.single import without_single_joins
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def run(body: str) -> str:
    new = without_single_joins(function(f"def f(self, x, n):\n{textwrap.indent(body, '    ')}\n"))
    return textwrap.dedent("\n".join(code(new).strip().splitlines()[1:]))


BRANCHES = """if n > 1:
    x = torch.cat([x] * n, dim=0)
elif n < 1:
    raise ValueError
else:
    x = torch.cat([x], dim=0)
return x"""


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ("x = torch.cat([x])\nreturn x", "return x"),
        ("x = torch.cat([x], dim=0)\nreturn x", "return x"),
        ("x = torch.concat([x], 1)\nreturn x", "return x"),
        (BRANCHES, BRANCHES.replace("else:\n    x = torch.cat([x], dim=0)\n", "")),
    ],
)
def test_a_join_with_nothing_goes(body: str, after: str) -> None:
    assert run(body) == after


@pytest.mark.parametrize(
    "body",
    [
        "x = torch.cat([x, n])",
        "x = torch.cat([x] * n)",
        "x = torch.cat([n])",
        "x = torch.stack([x])",  # has one more dimension
        "x = torch.cat([*x])",
        "x = torch.cat(x)",
        "x = torch.cat([x])\nx[0] = 1",
        "x = torch.cat([x])\nx += 1",
        "x = torch.cat([x])\nx.mul_(2)",
    ],
)
def test_other_lines_stay(body: str) -> None:
    assert run(body) == body


def test_no_line_no_change() -> None:
    node = function("def f(self, x):\n    return torch.cat([x, x])\n")
    assert without_single_joins(node) is node


@pytest.mark.verify
@pytest.mark.parametrize("n", [1, 3])
def test_the_values_are_equal(n: int) -> None:
    """And not those of a copy less, so that this can fail."""
    torch = pytest.importorskip("torch")
    results: list[Any] = []
    for body in (BRANCHES, run(BRANCHES), run(BRANCHES.replace("[x] * n", "[x]"))):
        names: dict[str, Any] = {"torch": torch}
        exec(f"def f(x, n):\n{textwrap.indent(body, '    ')}", names)
        results.append(names["f"](torch.ones(2, 3), n))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2]) is (n == 1)
