"""Lines that give a name what it holds go; every other assignment stays."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.idle import without_idle_lines
from omniport.source.syntax import code


def function(body: str) -> cst.FunctionDef:
    lines = "".join(f"    {line}\n" if line else "\n" for line in body.split("\n"))
    node = cst.parse_module(f"def f(x, y):\n{lines}").body[0]
    assert isinstance(node, cst.FunctionDef)
    return node


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = x\nreturn x", "return x"),
        ("# Attend.\nx = x\ny = y\nreturn g(x, y)", "# Attend.\nreturn g(x, y)"),
        ("x = g(x)\n\nx = x\n# More.\nreturn x", "x = g(x)\n\n# More.\nreturn x"),
        ("if y:\n    x = x\nreturn x", "if y:\n    pass\nreturn x"),
    ],
)
def test_idle_lines_go(before: str, after: str) -> None:
    assert code(without_idle_lines(function(before))) == code(function(after))


@pytest.mark.parametrize("body", ["x = y", "x = x.a", "x, y = x, y", "x = y = x", "self.x = x", "x += x", "x == x"])
def test_other_lines_stay(body: str) -> None:
    node = function(body)
    assert without_idle_lines(node) is node
