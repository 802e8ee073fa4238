"""What is known of a value before anything is interpreted."""

from __future__ import annotations

import ast

import pytest

from omniport.analyse.starting import annotated, constant_assignment, nullness
from omniport.analyse.values import PRESENT, UNKNOWN, Const
from tests.pipeline.helpers import function


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("x: int", PRESENT),
        ("x: int = 3", PRESENT),
        ("x", PRESENT),
        ("x: int | None", UNKNOWN),
        ("x: Optional[int] = 3", UNKNOWN),
        ("x: int = None", UNKNOWN),
    ],
)
def test_the_type_of_a_parameter_says_whether_it_may_be_none(parameter: str, expected: object) -> None:
    assert annotated(function(f"def f({parameter}):\n    pass\n").params.params[0]) is expected


def test_a_name_of_a_module_is_a_constant_or_something() -> None:
    (plain, typed, made, bare) = ast.parse("A = 3\nB: int = 4\nC = make()\nD: int\n").body
    assert constant_assignment(plain) == Const(3) and constant_assignment(typed) == Const(4)
    assert constant_assignment(made) is PRESENT and constant_assignment(bare) is PRESENT


def test_of_an_argument_its_presence_is_known() -> None:
    assert nullness(Const(3)) is PRESENT and nullness(Const(None)) is UNKNOWN and nullness(UNKNOWN) is UNKNOWN
