"""libcst's nodes as the rooms that work with them have them."""

from __future__ import annotations

import abc
import subprocess
import sys

import libcst
import pytest

from omniport.source import cst
from omniport.source.walk import meaningful_fields


def test_nodes_are_equal_and_hashed_where_they_are_one() -> None:
    one, other = libcst.Name("x"), libcst.Name("x")
    assert one == one and one != other
    assert {one: 1, other: 2}[one] == 1
    assert libcst.Name.__hash__ is libcst.If.__hash__ is object.__hash__


def test_kinds_of_nodes_are_told_apart() -> None:
    name = libcst.Name("x")
    assert isinstance(name, libcst.BaseExpression) and not isinstance(name, libcst.BaseStatement)
    assert meaningful_fields(libcst.Name) == ("value",)


def test_other_abstract_classes_stay_abstract() -> None:
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self) -> float: ...

    with pytest.raises(TypeError):
        Shape()  # type: ignore[abstract]


@pytest.mark.parametrize(("first", "plain"), [("omniport.source.cst", "True"), ("libcst", "False")])
def test_libcst_is_quick_only_where_the_room_imports_it_first(first: str, plain: str) -> None:
    code = f"import {first}, libcst; print(type(libcst.If) is type)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == plain


def test_hashing_is_made_quick_once() -> None:
    cst._hashed_quickly()
    assert libcst.CSTNode.__hash__ is object.__hash__
