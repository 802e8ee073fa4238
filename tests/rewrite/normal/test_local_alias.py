from __future__ import annotations

import pytest

from omniport.rewrite.normal.local_alias import inline_local_aliases
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(inline_local_aliases)

TEMPLATE = """
class A(nn.Module):
    def forward(self, x, y=None):
        {}
        return x
"""


def program(*lines: str) -> str:
    return TEMPLATE.format("\n        ".join(lines))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("c = x", "k = self.k(c)", "x = x + k"), ("k = self.k(x)", "x = x + k")),
        (("c = x", "x = self.q(x) + self.k(c)"), ("x = self.q(x) + self.k(x)",)),  # read before it is bound
        (("c = x", "if y is not None:", "    y = y + c", "x = y"), ("if y is not None:", "    y = y + x", "x = y")),
        (("c = x", "k = self.k(context=c)"), ("k = self.k(context=x)",)),
    ],
)
def test_an_alias_that_means_the_same_goes(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    check_transformed(rewrite, program(*before), program(*after))


@pytest.mark.parametrize(
    "lines",
    [
        ("residual = x", "x = self.norm(x)", "x = x + residual"),  # the name is bound anew before the alias is read
        ("c = x", "if y is not None:", "    x = self.k(y)", "    y = c", "x = x + 1"),
        ("c = x", "x += self.k(c)"),
        ("c = x", "c = self.norm(c)", "x = self.k(c)"),  # the alias itself is bound again
        ("c = x", "def inner(z):", "    return z + c", "x = inner(x)"),
        ("c = x", "for _ in range(2):", "    x = self.k(x, c)"),
        ("y = x", "x = self.k(y)"),  # a parameter
        ("c = self.x", "x = self.k(c)"),
        ("c = x", "x = self.k(x)"),  # nothing reads it: dead code's business
    ],
)
def test_any_other_stays(lines: tuple[str, ...]) -> None:
    check_noop(rewrite, program(*lines))


def test_constructors_are_left_to_the_aliases_of_attributes() -> None:
    check_noop(rewrite, "class A(nn.Module):\n    def __init__(self, x):\n        c = x\n        self.c = f(c)\n")
