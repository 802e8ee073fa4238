"""Whether a request gives a guidance scale, in trees that do not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.generation.edit import Replace

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures


def needed(features: TargetFeatures) -> bool:
    return not (features.guidance_none and features.second_scale)


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    notes = []
    if not features.second_scale:
        # the request fills an omitted second scale with the first one
        test = "params.guidance_scale_2 != params.guidance_scale"
        module = module.visit(Replace({"params.guidance_scale_2_provided": f"({test})"}))
    if not features.guidance_none and "guidance_scale_provided" in module.code:
        notes.append("this vLLM-Omni takes guidance_scale 0 for an omitted one: the model's default is used")
    return module, notes
