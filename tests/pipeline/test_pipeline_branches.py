"""Guider objects: the denoiser calls of all branches as one call of the mixin, and guiders that are refused."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.pipeline import analyse_pipeline
from omniport.errors import UnsupportedError
from omniport.hub.synthetic import synthesise
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import guided
from omniport.rewrite.pipeline.module import render_pipeline
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import Component, Index, function, port, text

ONE = Denoisers((("self.transformer", ("x", "cond", "attention_kwargs", "return_dict")),))

LOOP = """
for t in ts:
    inputs = {"cond": (cond, null)}
    self.guider.set_state(step=0, num_inference_steps=1, timestep=t)
    state = self.guider.prepare_inputs(inputs)
    for one in state:
        self.guider.prepare_models(self.transformer)
        given = {name: getattr(one, name) for name in inputs}
        one.noise_pred = self.transformer(x=x, attention_kwargs=None, return_dict=False, **given)[0]
        self.guider.cleanup_models(self.transformer)
    pred = self.guider(state)[0]
    x = self.scheduler.step(pred, t, x, return_dict=False)[0]
return x
"""


def entry(body: str) -> str:
    return "def __call__(self, x, ts, cond, null):\n" + textwrap.indent(body, "    ")


def test_all_branches_are_one_call_of_the_mixin() -> None:
    form = guided(function(entry(LOOP)), ONE)
    found = text([form.entry])
    assert form.branches and not form.pairs
    assert "self.transformer(" not in found and "prepare_models" not in found and "cleanup_models" not in found
    assert "branches_kwargs=branches" in found and "**given" in found and "attention_kwargs" not in found
    assert (
        "for one, prediction in zip(state, predictions, strict=True):\n            one.noise_pred = prediction" in found
    )
    assert "pred = self.guider(state)[0]" in found
    compile(found, "port", "exec")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        self.guider.prepare_models(self.transformer)\n", ""),  # another loop than a guider's
        ("**given)[0]", "**given)"),  # more of the result is used
        ("self.guider.cleanup_models(self.transformer)", "use(given)"),  # the second loop would not have it
        ("x=x, attention", "x, attention"),  # an argument without a name
        ("inputs = {", "predictions = {"),  # a name that the port needs
    ],
)
def test_other_loops_stay(old: str, new: str) -> None:
    assert old in LOOP
    source = entry(LOOP.replace(old, new))
    form = guided(function(source), ONE)
    assert not form.branches and text([form.entry]) == source


@pytest.mark.parametrize("name", ["HunyuanVideo15Pipeline", "MotifVideoPipeline", "HunyuanImagePipeline"])
def test_pipelines_with_a_guider(diffusers: SourceTree, name: str) -> None:
    index, _ = synthesise(name, diffusers)
    plan = analyse_pipeline(diffusers, name, index, DEFAULT, name="x")
    assert plan.cfg == "branches" and any(d.subject.startswith("guider ") for d in plan.decisions)
    found = render_pipeline(diffusers, port("x", plan, "X"), DEFAULT)
    assert "CFGParallelMixin" in found and "def combine_multi_branch_cfg_noise" in found


def test_a_guider_that_changes_the_denoiser_is_refused(diffusers: SourceTree) -> None:
    index, _ = synthesise("HunyuanVideo15Pipeline", diffusers)
    other = Component("diffusers", "PerturbedAttentionGuidance")
    with pytest.raises(UnsupportedError, match="PerturbedAttentionGuidance: prepare_models changes the denoiser"):
        changed = Index({**index.components, "guider": other})  # type: ignore[dict-item]
        analyse_pipeline(diffusers, "HunyuanVideo15Pipeline", changed, DEFAULT, name="x")
