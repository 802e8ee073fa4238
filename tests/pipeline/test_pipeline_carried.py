"""Attention arguments that carry data: entries of the dict become arguments of the denoiser's call."""

from __future__ import annotations

import ast
import textwrap

import pytest

from omniport.analyse.demand import Demand, demand_of
from omniport.analyse.pipeline import analyse_pipeline
from omniport.analyse.pipeline_carried import carried_entries
from omniport.errors import UnsupportedError
from omniport.hub.synthetic import synthesise
from omniport.rewrite.pipeline.carried import with_entries_apart
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import function, text

KEPT = """
def __call__(self, prompt, joint_attention_kwargs=None):
    self._joint_attention_kwargs = joint_attention_kwargs
    mask = self.mask(prompt)
    if self._joint_attention_kwargs is None:
        self._joint_attention_kwargs = {}
    self._joint_attention_kwargs["mask"] = mask
    return self.transformer(x=prompt, joint_attention_kwargs=self.joint_attention_kwargs, return_dict=False)[0]
"""

LOCAL = """
def __call__(self, prompt, scaled=True):
    cross_attention_kwargs = {}
    if scaled:
        cross_attention_kwargs["base_length"] = 64
    return self.transformer(x=prompt, cross_attention_kwargs=cross_attention_kwargs)[0]
"""


def apart(source: str, parameter: str, *keys: str) -> str:
    return text([with_entries_apart(function(source), {parameter: keys}, "x.py")])


def body(source: str) -> str:
    return textwrap.dedent(source).split(":\n", 1)[1]


def test_an_entry_that_a_name_holds_is_that_name() -> None:
    made = apart(KEPT, "joint_attention_kwargs", "mask")
    assert body(made) == (
        "    self._joint_attention_kwargs = joint_attention_kwargs\n"
        "    mask = self.mask(prompt)\n"
        "    return self.transformer(x=prompt, mask=mask, return_dict=False)[0]\n"
    )


def test_an_entry_of_some_paths_is_none_on_the_others() -> None:
    made = apart(LOCAL, "cross_attention_kwargs", "base_length")
    assert body(made) == (
        "    base_length = None\n"
        "    if scaled:\n"
        "        base_length = 64\n"
        "    return self.transformer(x=prompt, base_length=base_length)[0]\n"
    )


@pytest.mark.parametrize(
    ("source", "text", "instead"),
    [
        (KEPT, '["mask"] = mask', '["mask"] = mask + 1'),  # ``mask`` is another value
        (KEPT, "    return", "    mask = None\n    return"),  # it is stored and bound anew
        (LOCAL, "    if scaled", "    base_length = 3\n    if scaled"),
        (LOCAL, "= {}", "= dict()"),  # where the entries would be None is not seen
    ],
)
def test_a_name_that_means_something_else_is_refused(source: str, text: str, instead: str) -> None:
    assert text in source
    parameter, key = ("joint_attention_kwargs", "mask") if source is KEPT else ("cross_attention_kwargs", "base_length")
    with pytest.raises(UnsupportedError, match=f"{key}|{parameter} is made in 0 places"):
        apart(source.replace(text, instead, 1), parameter, key)


def entries(source: str) -> dict[str, tuple[str, ...]]:
    node = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(node, ast.FunctionDef)
    return {parameter: keys for parameter, (keys, _) in carried_entries(node).items()}


def test_entries_are_what_the_pipeline_stores_itself() -> None:
    assert entries(KEPT) == {"joint_attention_kwargs": ("mask",)}
    assert entries(LOCAL) == {"cross_attention_kwargs": ("base_length",)}


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ('["mask"]', '["ip_adapter_image_embeds"]'),  # no port has an IP-adapter
        ('["mask"]', "[name]"),
        ('["mask"]', '["a-b"]'),
        ("_joint_attention_kwargs[", "_options["),
    ],
)
def test_no_entries(text: str, instead: str) -> None:
    assert text in KEPT
    assert entries(KEPT.replace(text, instead)) == {}


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        ("BriaFiboPipeline", (("joint_attention_kwargs", ("attention_mask",)),)),
        ("LuminaPipeline", (("cross_attention_kwargs", ("base_sequence_length",)),)),
        ("FluxPipeline", ()),
    ],
)
def test_pipelines_say_what_they_carry(
    diffusers: SourceTree, name: str, carried: tuple[tuple[str, tuple[str, ...]], ...]
) -> None:
    plan = analyse_pipeline(diffusers, name, synthesise(name, diffusers)[0], DEFAULT, name="x")
    assert demand_of(plan) == Demand(members=demand_of(plan).members, carried=carried)
