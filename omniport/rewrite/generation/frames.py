"""The number of frames where the tree has no ``resolve_video_num_frames``: 1 stands for an omitted number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.generation.edit import Replace

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures


def needed(features: TargetFeatures) -> bool:
    return not features.resolve_frames


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    def resolved(given: dict[str, str]) -> str:
        value, default = given["0"], given["default_num_frames"]
        warm_up = f" or {given['is_dummy_run']}" if features.dummy_run else ""
        return f"{value} if {value} != 1{warm_up} else {default}"

    replace = Replace({}, {"resolve_video_num_frames": resolved})
    module = module.visit(replace)
    notes = []
    if replace.done and not features.dummy_run:
        notes.append("this vLLM-Omni does not mark its warm-up request: it runs the default number of frames")
    return module, notes
