"""Calls made up from a signature, and the requests they become."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

pytest.importorskip("torch")

from omniport.errors import OmniportError  # noqa: E402
from omniport.verify.calls import STRENGTH, calls_for, request  # noqa: E402
from omniport.verify.pipelines import RECIPES, Recipe  # noqa: E402


def _edit(
    self: Any,
    prompt: Any = None,
    negative_prompt: Any = None,
    image: Any = None,
    control_image: Any = None,
    height: Any = None,
    guidance_scale: float = 3.0,
    strength: float = 0.6,
    num_images_per_prompt: int = 1,
    cfg_trunc_ratio: float = 1.0,
    generator: Any = None,
    output_type: str = "pil",
) -> None: ...


SIGNATURE = inspect.signature(_edit)


def test_calls_cover_given_and_omitted_arguments() -> None:
    calls = {c.name: c for c in calls_for(SIGNATURE, Recipe())}
    assert list(calls) == ["base", "defaults", "guidance off", "two outputs", "two prompts"]
    assert calls["base"].arguments["guidance_scale"] == 3.5  # 3.0 is the default and would not show a lost value
    assert calls["base"].arguments["negative_prompt"]
    assert not {"guidance_scale", "strength", "negative_prompt"} & calls["defaults"].arguments.keys()
    assert calls["guidance off"].arguments["guidance_scale"] == 1.0
    assert calls["two outputs"].arguments["num_images_per_prompt"] == 2
    first, second = calls["two prompts"].prompts
    assert len(first) != len(second)


def test_a_recipe_adds_arguments_and_leaves_calls_out() -> None:
    recipe = Recipe("test", call={"cfg_trunc_ratio": 0.5, "image": None}, cases={"two outputs": None})
    calls = {c.name: c for c in calls_for(SIGNATURE, recipe)}
    assert "two outputs" not in calls
    assert all(c.arguments["cfg_trunc_ratio"] == 0.5 and "image" not in c.arguments for c in calls.values())


def test_a_case_may_leave_out_what_every_call_is_given() -> None:
    recipe = Recipe("test", call={"cfg_trunc_ratio": 0.5}, cases={"defaults": {"cfg_trunc_ratio": None}})
    given = {c.name: c.arguments.get("cfg_trunc_ratio") for c in calls_for(SIGNATURE, recipe)}
    assert given.pop("defaults") is None and set(given.values()) == {0.5}


def test_a_required_parameter_without_rule_is_refused() -> None:
    def call(self: Any, prompt: str, unheard_of: int) -> None: ...

    with pytest.raises(OmniportError, match="unheard_of"):
        calls_for(inspect.signature(call), Recipe())


def test_a_request_has_each_argument_where_the_front_ends_put_it() -> None:
    pytest.importorskip("vllm_omni")  # not above: it takes ten seconds, and only the process that runs this needs it
    recipe = Recipe("test", call={"cfg_trunc_ratio": 0.5})
    calls = {c.name: c for c in calls_for(SIGNATURE, recipe)}
    made = request(calls["base"], 0, SIGNATURE.parameters)
    assert made.prompt["negative_prompt"]
    assert set(made.prompt["multi_modal_data"]) == {"image", "control_image"}
    params = made.sampling_params
    assert (params.guidance_scale, params.guidance_scale_provided, params.strength) == (3.5, True, STRENGTH)
    assert params.extra_args["cfg_trunc_ratio"] == 0.5
    omitted = request(calls["defaults"], 0, SIGNATURE.parameters).sampling_params
    assert not omitted.guidance_scale_provided
    assert omitted.strength is None
    assert omitted.output_type == "latent"
    assert request(calls["two outputs"], 0, SIGNATURE.parameters).sampling_params.num_outputs_per_prompt == 2
    second = request(calls["two prompts"], 1, SIGNATURE.parameters)
    assert second.prompt["prompt"] == calls["two prompts"].prompts[1]


def test_each_recipe_says_why() -> None:
    assert [name for name, recipe in RECIPES.items() if not recipe.reason] == []
