"""The text of a node is what libcst writes."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.source.syntax import code
from omniport.source.walk import of_kind

_SPACES = "class A:\n    # of it\n    def f(self, x=(1 , 2)):\n        return [ (x) for x in self . y ]  # why\n"


@pytest.mark.parametrize("text", [_SPACES, _SPACES.replace("    ", "\t"), _SPACES.replace("\n", "\r\n")])
def test_a_module_keeps_its_own_layout(text: str) -> None:
    assert code(cst.parse_module(text)) == text


def test_a_part_of_a_module_is_written_as_libcst_does() -> None:
    module = cst.parse_module(_SPACES)
    for kind in (cst.ClassDef, cst.FunctionDef, cst.ListComp, cst.Attribute, cst.Name, cst.Tuple):
        nodes = of_kind(module, kind)
        assert nodes
        assert [code(node) for node in nodes] == [cst.Module([]).code_for_node(node) for node in nodes]
    assert code(of_kind(module, cst.Tuple)[0]) == "(1 , 2)"
