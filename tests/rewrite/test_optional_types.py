"""A parameter that is None by default says so in its type."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.optional_types import with_optional_types
from omniport.rewrite.pipeline.annotations import with_whole_annotations
from omniport.rewrite.returns import return_values


def run(parameters: str) -> str:
    node = cst.parse_statement(f"def f({parameters}): pass\n")
    assert isinstance(node, cst.FunctionDef)
    new = with_optional_types(node.params)
    assert (new is node.params) == (cst.Module([]).code_for_node(new) == parameters)
    return cst.Module([]).code_for_node(new)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x: torch.Tensor = None", "x: torch.Tensor | None = None"),
        ("self, x: str | list[str] = None, y=1", "self, x: str | list[str] | None = None, y=1"),
        ("x, *, y: dict[str, Any] = None", "x, *, y: dict[str, Any] | None = None"),
    ],
)
def test_the_type_says_what_the_default_is(before: str, after: str) -> None:
    assert run(before) == after


@pytest.mark.parametrize(
    "parameters",
    [
        "x: torch.Tensor | None = None",
        "x: Optional[torch.Tensor] = None",
        "x: Callable[[int], None] = None",
        "x: Any = None",
        "x: callable = None",  # a function: it takes no |
        'x: "Later" = None',
        "x: torch.Tensor",
        "x=None",
        "x: int = 0",
        "x: bool = False",
    ],
)
def test_other_parameters_stay(parameters: str) -> None:
    assert run(parameters) == parameters


def test_ports_have_such_types_in_both_files() -> None:
    module = cst.parse_module("class A:\n    def f(self, x: int = None):\n        pass\n")
    assert "x: int | None = None" in return_values(module).code
    function = cst.parse_statement("def f(x: int = None): pass\n")
    assert isinstance(function, cst.FunctionDef)
    assert "x: int | None = None" in cst.Module([with_whole_annotations(function)]).code
