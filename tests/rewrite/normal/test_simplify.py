from __future__ import annotations

import pytest

from omniport.rewrite.normal.simplify import simplify
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(simplify)

TEMPLATE = """
class A(nn.Module):
    def __init__(self, dim: int, width: float, last: bool, kind=None):
        self.out = None
        if last:
            self.sure = nn.Linear(dim, dim)
        else:
            self.sure = None
        if width:
            self.unsure = None
        {}

    def forward(self, x, n=None):
        {}
        return x
"""


def program(init: str = "pass", forward: str = "pass") -> str:
    return TEMPLATE.format(init.replace("\n", "\n        "), forward.replace("\n", "\n        "))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = int(dim * 1)", "a = dim"),
        ("a = int(1.0 * dim)", "a = dim"),
        ("a = int(dim * 4)", "a = dim * 4"),
        ("a = int(dim * 4.0)", "a = dim * 4"),
        ("a = True if dim == 4 and not last else False", "a = dim == 4 and not last"),
        (
            "kind2 = 'a' if last else 'b'\nif kind2 == 'a':\n    self.a = 1",
            "kind2 = 'a' if last else 'b'\nif last:\n    self.a = 1",
        ),
        (
            "kind2 = 'a' if last and dim else 'b'\nif kind2 != 'a':\n    self.a = 1",
            "kind2 = 'a' if last and dim else 'b'\nif not (last and dim):\n    self.a = 1",
        ),
        ("kind2 = 'a' if last else 'b'\nself.c = kind2 == 'c'", "kind2 = 'a' if last else 'b'\nself.c = False"),
    ],
)
def test_constructors(before: str, after: str) -> None:
    check_transformed(rewrite, program(before), program(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = self.out(x)\nx = x / 1.0\nx = x + 1", "x = self.out(x)\nx = x + 1"),
        ("x = self.out[0](x)\nx = x / 1.0\nx = x + 1", "x = self.out[0](x)\nx = x + 1"),
        ('y = getattr(self, "sure", None)', "y = self.sure"),
        ("if len(self.out) > 1:\n    pass\ny = 1", "y = 1"),
    ],
)
def test_forwards(before: str, after: str) -> None:
    check_transformed(rewrite, program(forward=before), program(forward=after))


@pytest.mark.parametrize(
    "lines",
    [
        "a = int(width * 4)",  # no integer
        "a = int(dim * 2.5)",
        "a = int(dim / 2)",
        "a = True if kind else False",  # no bool
        "kind2 = 'a' if last else 'b'\nlast = dim\nself.c = kind2 == 'a'",  # the condition changed
        "kind2 = 'a' if kind() else 'b'\nself.c = kind2 == 'a'",
        "kind2 = 'a' if last else dim\nself.c = kind2 == 'a'",
        "kind2 = 'a' if last else 'b'\nkind2 = 'c'\nself.c = kind2 == 'a'",
    ],
)
def test_other_constructors_stay(lines: str) -> None:
    check_noop(rewrite, program(lines))


@pytest.mark.parametrize(
    "lines",
    [
        "x = n / 1.0",
        "x = x / 1.0",  # may be an integer
        "x = self.out(x)\nx = x / 1",
        "x = self.out(x)\nx = x / 2.0",
        'y = getattr(self, "unsure", None)',
        'y = getattr(n, "sure", None)',
        "if self.step():\n    pass",
        "if n:\n    pass\nelse:\n    x = n",
    ],
)
def test_other_forwards_stay(lines: str) -> None:
    check_noop(rewrite, program(forward=lines))
