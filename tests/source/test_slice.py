"""Cutting definitions out of a module, with markers that survive rewriting."""

from __future__ import annotations

import libcst as cst

from omniport.source.slice import definition, marker, split_markers
from omniport.source.tree import SourceTree


def test_markers_name_the_source_line(reference: SourceTree) -> None:
    module = reference.module("diffusers.models.layers")
    assert module is not None
    node = definition(module, "FeedForward", cst.ClassDef)
    code, origins, _ = split_markers(cst.Module([node]).code)
    lines = module.text.splitlines()
    assert len(origins) > 10
    for number, (file, line) in origins.items():
        assert file == "diffusers/models/layers.py"
        here = code.splitlines()[number - 1].strip()
        assert here == lines[line - 1].strip()


def test_splitting_gives_the_text_back(reference: SourceTree) -> None:
    module = reference.module("diffusers.models.layers")
    assert module is not None
    node = definition(module, "Modulation", cst.ClassDef)
    code, *_ = split_markers(cst.Module([node]).code)
    assert code.strip() in module.text


def test_text_without_markers_stays() -> None:
    assert split_markers("x = 1  # kept\n") == ("x = 1  # kept\n", {}, {1: 1})


def test_compound_statements_are_marked(reference: SourceTree) -> None:
    module = reference.module("diffusers.models.layers")
    assert module is not None
    node = definition(module, "FeedForward", cst.ClassDef)
    init = node.body.body[1]
    assert isinstance(init, cst.FunctionDef)
    found = next(s for s in init.body.body if isinstance(s, cst.If))
    mark = marker(found)
    assert mark is not None
    assert module.text.splitlines()[mark[1] - 1].strip() == 'if activation == "tanh":'
