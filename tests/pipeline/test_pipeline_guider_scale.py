"""The guidance scale of a request reaches the guider, and the next request gets the config's again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libcst as cst
import pytest

from omniport.analyse.pipeline_guiders import scaled
from omniport.plan.model import ArgumentPlan, Decision, PipelinePlan, Why
from omniport.rewrite.pipeline.guider_scale import SCALED, guider_scales
from omniport.source.tree import SourceTree

WHY = Why("a reason", "pipeline.py", 3)
EMBEDDED = "params.guidance_scale if params.guidance_scale_provided else 3.25"


def plan(*guiders: str, **arguments: str) -> PipelinePlan:
    return PipelinePlan(
        class_name="XPipeline",
        module="diffusers.pipelines.x",
        output="image",
        arguments=tuple(ArgumentPlan(name, source, None, WHY) for name, source in arguments.items()),
        dropped=(),
        cfg="branches",
        transformer_attributes=(),
        post_process=None,
        pre_process=None,
        decisions=tuple(Decision(f"{SCALED} {name}", True, WHY) for name in guiders),
    )


def served(made: PipelinePlan, port: Any, **params: Any) -> None:
    given = {"guidance_scale": 1.0, "guidance_scale_provided": False, "true_cfg_scale": None} | params
    exec(cst.Module(guider_scales(made)).code, {"self": port, "params": SimpleNamespace(**given)})


def guider(scale: float) -> SimpleNamespace:
    return SimpleNamespace(guidance_scale=scale, config=SimpleNamespace(guidance_scale=scale))


def test_the_scale_holds_for_one_request() -> None:
    port = SimpleNamespace(guider=guider(6.0))
    made = plan("guider", sigmas="params.sigmas")
    for params, scale in (
        ({"guidance_scale": 2.5, "guidance_scale_provided": True}, 2.5),
        ({}, 6.0),
        ({"guidance_scale": 0.0, "guidance_scale_provided": True}, 0.0),
        ({"true_cfg_scale": 4.0}, 6.0),
    ):
        served(made, port, **params)
        assert port.guider.guidance_scale == scale


def test_a_model_that_embeds_the_scale_leaves_the_other_to_its_guiders() -> None:
    port = SimpleNamespace(guider=guider(3.5), ocr_guider=guider(2.0))
    made = plan("guider", "ocr_guider", distilled_guidance_scale=EMBEDDED)
    served(made, port, guidance_scale=7.0, guidance_scale_provided=True)
    assert (port.guider.guidance_scale, port.ocr_guider.guidance_scale) == (3.5, 2.0)
    served(made, port, true_cfg_scale=4.0)
    assert (port.guider.guidance_scale, port.ocr_guider.guidance_scale) == (4.0, 4.0)


def test_no_guider_gets_nothing() -> None:
    assert guider_scales(plan(guidance_scale=EMBEDDED)) == []


def components(**classes: str) -> tuple[Decision, ...]:
    return tuple(Decision(f"component {n}", c, Why("other: computes", "pipeline.py", 3)) for n, c in classes.items())


def test_guiders_of_the_reference_have_a_scale(diffusers: SourceTree) -> None:
    found = components(
        guider="diffusers.guiders.classifier_free_guidance.ClassifierFreeGuidance",
        ocr_guider="diffusers.guiders.adaptive_projected_guidance_mix.AdaptiveProjectedMixGuidance",
        scheduler="diffusers.schedulers.scheduling_flow_match_euler_discrete.FlowMatchEulerDiscreteScheduler",
    )
    assert dict(scaled(diffusers, found)) == {
        "guider": "ClassifierFreeGuidance",
        "ocr_guider": "AdaptiveProjectedMixGuidance",
    }


@pytest.mark.parametrize("name", ["guider_utils.BaseGuidance", "guider_utils.NoSuchGuidance", "no_such_module.X"])
def test_a_class_without_a_scale_gets_none(diffusers: SourceTree, name: str) -> None:
    assert not dict(scaled(diffusers, components(guider=f"diffusers.guiders.{name}")))


@pytest.mark.verify
def test_the_config_of_a_guider_holds_its_scale() -> None:
    guiders = pytest.importorskip("diffusers.guiders")
    for cls in (guiders.ClassifierFreeGuidance, guiders.AdaptiveProjectedMixGuidance):
        made = cls(guidance_scale=4.25)
        served(plan("guider"), SimpleNamespace(guider=made), guidance_scale=2.0, guidance_scale_provided=True)
        assert made.guidance_scale == 2.0 and made.config.guidance_scale == 4.25
