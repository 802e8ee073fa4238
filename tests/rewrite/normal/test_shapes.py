from __future__ import annotations

import pytest

from omniport.rewrite.normal.shapes import shorten_shapes
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(shorten_shapes)
TEMPLATE = "class A:\n    def forward(self, x):\n        {}\n        return f({})\n"


@pytest.mark.parametrize(
    ("line", "read", "after"),
    [
        ("b, s, _ = x.shape", "b", "b = x.shape[0]"),
        ("b, s, _ = x.shape", "s, s", "s = x.shape[1]"),
    ],
)
def test_the_one_size_that_is_read(line: str, read: str, after: str) -> None:
    check_transformed(rewrite, TEMPLATE.format(line, read), TEMPLATE.format(after, read))


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("b, s, _ = x.shape", "b, s"),
        ("b, s = self.sizes(x)", "b"),
        ("b, s = self.x.shape", "b"),
        ("b, *_ = x.shape", "b"),
        ("b = x.shape", "b"),
        ("b, s = c = x.shape", "b"),
        ("b, s = x.shape", "x"),
    ],
)
def test_any_other_stays(line: str, read: str) -> None:
    check_noop(rewrite, TEMPLATE.format(line, read))
