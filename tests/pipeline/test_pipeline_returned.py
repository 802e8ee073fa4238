"""A value named only to be returned is returned, where the line fits at the depth of a method."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.returned import with_values_returned
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def test_such_a_pair_is_one_line() -> None:
    method = function("def f(self, x):\n    if x:\n        y = g(x)\n        return y\n    z = h(x)\n    return z\n")
    text = code(with_values_returned(method)).strip()
    assert text == "def f(self, x):\n    if x:\n        return g(x)\n    return h(x)"


@pytest.mark.parametrize(
    ("length", "joined"), [(120 - 8 - len("return g()"), True), (121 - 8 - len("return g()"), False)]
)
def test_the_line_has_to_fit(length: int, joined: bool) -> None:
    text = code(with_values_returned(function(f"def f(self, x):\n    y = g({'x' * length})\n    return y\n")))
    assert ("y = " not in text) is joined


@pytest.mark.parametrize(
    "body",
    [
        "return g(x)",
        "y = g(x)\n    return y, x",
        "y = g(x)\n    x = 1\n    return y",
        "y = g(x)\n    # why\n    return y",
        "y = g(x)  # why\n    return y",
        "y: int = g(x)\n    return y",
        "y += 1\n    return y",
        "y, z = g(x)\n    return y",
        "y = z = g(x)\n    return y",
        "nonlocal_ = 1\n    return x",
        "y = g(\n        x\n    )\n    return y",
    ],
)
def test_other_methods_stay(body: str) -> None:
    text = f"def f(self, x):\n    {body}\n"
    assert code(with_values_returned(function(text))).strip() == text.strip()


def test_annotations_stay_as_they_are() -> None:
    text = "def f(self, x: int = None) -> tuple[int, int]:\n    y = g(x)\n    return y\n"
    assert "def f(self, x: int = None) -> tuple[int, int]:" in code(with_values_returned(function(text)))
