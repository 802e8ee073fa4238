"""What of a pipeline class nothing uses."""

from __future__ import annotations

from typing import Any

import libcst as cst
import pytest

from omniport.rewrite.pipeline.unused import class_variables, is_dead_store, without_argument
from omniport.source.syntax import code
from tests.pipeline.helpers import block, function


def test_class_variables_with_a_value_that_is_read_stay() -> None:
    node: Any = block(
        "class P(Base):\n    a = 1\n    b: int = 2\n    vae: AutoencoderKL\n    c = 3\n    def f(self): pass\n"
    )[0]
    methods = {"f": function("def f(self):\n    return self.a + self.b + self.vae(1)\n")}
    kept = class_variables(node, methods)
    assert [code(line).strip() for line in kept] == ["a = 1", "b: int = 2"]  # no annotation of a component


@pytest.mark.parametrize(
    ("line", "dead"),
    [
        ("self._x = y", True),
        ("self._x = len(y)", True),
        ("self._x = make(y)", False),
        ("self._read = y", False),
        ("self.x = y", False),
        ("_x = y", False),
        ("self._x = self._z = y", False),
    ],
)
def test_dead_stores(line: str, dead: bool) -> None:
    assert is_dead_store(cst.ensure_type(block(line)[0], cst.SimpleStatementLine), {"_read"}) is dead


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("self.f(1, 2, 3)", "self.f(1, 3)"),
        ("self.f(1, b=2,)", "self.f(1)"),  # on one line, if it fits there
        ("other.f(1, b=2,)", "other.f(1, b=2,)"),
        ("self.f(1, b=2, c=3)", "self.f(1, c=3)"),
        ("P.f(1, c=3)", "P.f(1, c=3)"),
        ("other.f(1, 2)", "other.f(1, 2)"),
    ],
)
def test_an_argument_goes(call: str, after: str) -> None:
    node = function(f"def g(self):\n    return {call}\n")
    new = without_argument(node, {"self.f", "P.f"}, "b", 1)
    assert f"return {after}\n" in code(new)
    assert (new is node) is (call == after)
