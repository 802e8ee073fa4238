"""The text of a node is that of the standard library."""

from __future__ import annotations

import ast

import pytest

from omniport.analyse.syntax import text


@pytest.mark.parametrize(
    "source",
    ["a", "a.b.c", "(a + b).c", "f(x).y.z", "(1).real", "a[0].b.c", "(x if y else z).w", "'s'.join", "(lambda: 0).x"]
    + ["[1].a", "(a, b).c", "-a.b", "(-a).b", "(await a).b", "(a := b).c"],
)
def test_text_is_what_the_standard_library_writes(source: str) -> None:
    for node in ast.walk(ast.parse(source, mode="eval")):
        if isinstance(node, ast.expr):
            assert text(node) == ast.unparse(node) == text(node)
