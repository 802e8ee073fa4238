"""A copy that only the next line reads goes; where anything else could see it, it stays."""

from __future__ import annotations

import textwrap

import pytest

from omniport.rewrite.pipeline.copies import without_copies
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def written(body: str) -> str:
    node = without_copies(function(f"def f(self, x, y):\n{textwrap.indent(body, '    ')}"))
    return textwrap.dedent("\n".join(code(node).strip().splitlines()[1:])) + "\n"


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ("x = y\nx = self.scale(x, 1)\n", "x = self.scale(y, 1)\n"),
        ("x = y\nx = x.to(x.dtype, x=1)\n", "x = y.to(y.dtype, x=1)\n"),
        ("# one\nx = y\n# two\nx = g(x)\n", "# one\n# two\nx = g(y)\n"),
        ("for t in y:\n    x = y\n    x = g(x)\n", "for t in y:\n    x = g(y)\n"),
        ("x = y\nx = g(x)\nx = h(x)\n", "x = g(y)\nx = h(x)\n"),
        ("x = x\nreturn x\n", "return x\n"),
    ],
)
def test_a_copy_goes(body: str, after: str) -> None:
    assert written(body) == after


@pytest.mark.parametrize(
    "body",
    [
        "x = y\nz = g(x)\n",
        "x = y\ny = g(x)\n",
        "x = y\nx = g(y)\n",
        "x = y\nx += 1\n",
        "x = y\nx, z = g(x)\n",
        "x = z = y\nx = g(x)\n",
        "x = y\nx[0] = g(x)\n",
        "x = None\nx = g(x)\n",
        "x = y.z\nx = g(x)\n",
        "x = y  # a reason\nx = g(x)\n",
        "x = y\nx = g(lambda: x)\n",  # which may be called when y is another
        "x = y\nx = g((y := 1), x)\n",
        "x = y\nx = [g(x) for y in self]\n",
        "x = y\nif self:\n    x = g(x)\n",
        "if self:\n    x = x\n",  # nothing else in the block
    ],
)
def test_other_lines_stay(body: str) -> None:
    assert written(body) == body


def test_a_method_without_one_is_the_same_object() -> None:
    node = function("def f(x, y):\n    x = y\n    return x\n")
    assert without_copies(node) is node
