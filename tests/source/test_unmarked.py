"""Trees whose markers are taken off, in place of parsing their text once more."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.errors import UnsupportedError
from omniport.source.slice import definition, method, split_markers
from omniport.source.tree import SourceModule, SourceTree
from omniport.source.unmarked import unmarked, wrapped
from omniport.source.walk import walk

NAMES = ("FeedForward", "Modulation")


@pytest.fixture
def layers(reference: SourceTree) -> SourceModule:
    module = reference.module("diffusers.models.layers")
    assert module is not None
    return module


@pytest.mark.parametrize("name", NAMES)
def test_the_tree_has_the_text_without_markers(layers: SourceModule, name: str) -> None:
    node = definition(layers, name, cst.ClassDef)
    marked = cst.Module([node]).code
    classes, count = unmarked([node], 120)
    assert "#@" in marked
    assert cst.Module(classes).code == split_markers(marked)[0]
    assert classes[0].deep_equals(cst.ensure_type(cst.parse_module(split_markers(marked)[0]).body[0], cst.ClassDef))
    assert not count


def test_no_node_stands_in_two_places(layers: SourceModule) -> None:
    node = definition(layers, NAMES[0], cst.ClassDef)
    member = node.body.body[-1]
    twice = node.with_changes(body=node.body.with_changes(body=(*node.body.body, member)))

    def doubles(held: cst.CSTNode) -> int:
        ids = [id(part) for part in walk(held)]
        return len(ids) - len(set(ids))

    (apart,), _ = unmarked([twice], 120)
    assert doubles(twice) > 0
    assert doubles(apart) == 0


def test_comments_that_are_too_long_are_wrapped_and_counted() -> None:
    text = "class A:\n    # one two three four\n    x = 1  #@a.py:2\n    # kept\n"
    classes, count = unmarked([cst.ensure_type(cst.parse_module(text).body[0], cst.ClassDef)], 18)
    assert cst.Module(classes).code == "class A:\n    # one two\n    # three four\n    x = 1\n    # kept\n"
    assert count == 1
    assert wrapped("#one two three four", 4, 18) == ["#one two three four"]


def test_a_method_is_cut_out_as_its_class_holds_it(layers: SourceModule) -> None:
    node = definition(layers, NAMES[0], cst.ClassDef)
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef):
            assert method(layers, NAMES[0], member.name.value).deep_equals(member)
    with pytest.raises(UnsupportedError, match="has no method nothing"):
        method(layers, NAMES[0], "nothing")
