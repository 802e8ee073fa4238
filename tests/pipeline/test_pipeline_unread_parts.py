"""Parts of an unpacked value without a name: those that nothing reads, and no others."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.unread_parts import with_unread_parts
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def run(body: str) -> str:
    method = function(f"def f(self, x):\n    {body}\n")
    new = with_unread_parts(method)
    assert new is not method or code(new) == code(method)
    return code(new).strip().partition("\n    ")[2].replace("\n    ", "\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("b, n, c = x.shape\n    return b * c", "b, _, c = x.shape\nreturn b * c"),
        ("b, n, c = x.shape\n    return 1", "_, _, _ = x.shape\nreturn 1"),
        ("(b, n), c = x\n    b, m = g()\n    return b, n, c", "(b, n), c = x\nb, _ = g()\nreturn b, n, c"),
        ("if x:\n        b, n = x\n    return b", "if x:\n    b, _ = x\nreturn b"),
    ],
)
def test_a_part_that_nothing_reads_has_no_name(body: str, expected: str) -> None:
    assert run(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "b, n = x.shape\n    return b + n",
        "b, n = x.shape\n    return [n for _ in range(b)]",
        "b, n = x.shape\n    return lambda: (b, n)",
        "b, n = x.shape\n    del n\n    return b",
        "b, n = x.shape\n    return f'{n}', b",
        "b, *n = x.shape\n    return b",
        "n = x.shape\n    return 1",
        "self.a, self.b = x",
        "b, n = x.shape\n    n += 1\n    return b",
        "b, n = x.shape\n    return _(b)",
        "b, n = x.shape\n\n    def g():\n        nonlocal n\n    return b",
        "n = 1\n    b, n = x\n    return b",
    ],
)
def test_other_parts_keep_their_names(body: str) -> None:
    method = function(f"def f(self, x):\n    {body}\n")
    assert with_unread_parts(method) is method
