"""A reference that makes one output, whatever number is asked for: its port refuses other numbers."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace

import pytest

from omniport.analyse.pipeline import analyse_pipeline
from omniport.rewrite.pipeline.module import render_pipeline
from omniport.source.tree import SourceModule, SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import MINI, port

SETS = "        num_images_per_prompt = 1\n"


def rendered(reference: SourceTree, old: str = "", new: str = "") -> str:
    module = reference.find_class("MiniPipeline", "pipelines")
    assert old in module.text
    tree = SourceTree(reference.root, reference.version, dict(reference._modules))
    text = module.text.replace(old, new, 1) if old else module.text
    tree._modules[module.name] = SourceModule(module.name, module.path, module.file, text, module.is_package)
    plan = analyse_pipeline(tree, "MiniPipeline", MINI, DEFAULT, name="mini")
    return render_pipeline(tree, port("mini", plan, "MiniTransformer2DModel"), DEFAULT)


@pytest.fixture(scope="module")
def one(reference: SourceTree) -> str:
    first = "        height = height or"
    return rendered(reference, first, f"{SETS}\n{first}")


def test_the_number_is_refused_before_anything_is_done(one: str) -> None:
    forward = one[one.index("    def forward(") :]
    start = forward.index("        if params.num_outputs_per_prompt != 1:")
    assert start < forward.index("prompt_embeds = req.")
    lines = forward[start:].splitlines()[:2]
    for number in (2, 0):
        with pytest.raises(ValueError, match=f"MiniPipeline makes one output .*num_outputs_per_prompt={number}"):
            exec(textwrap.dedent("\n".join(lines)), {"params": SimpleNamespace(num_outputs_per_prompt=number)})
    exec(textwrap.dedent("\n".join(lines)), {"params": SimpleNamespace(num_outputs_per_prompt=1)})


def test_a_reference_that_counts_them_refuses_none(reference: SourceTree) -> None:
    text = rendered(reference)
    assert "num_outputs_per_prompt != 1" not in text and "num_images_per_prompt = params.num_outputs_per_prompt" in text


def test_a_number_that_is_only_looked_at_is_still_the_requests_own(reference: SourceTree) -> None:
    first = "        height = height or"
    text = rendered(reference, first, f"        num_images_per_prompt = num_images_per_prompt or 1\n{first}")
    assert "num_outputs_per_prompt != 1" not in text
