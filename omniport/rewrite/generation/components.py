"""Which attributes of a pipeline are its denoisers, encoders and VAEs: declared only where the tree asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.generation.edit import removed

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_DECLARED = ("_dit_modules", "_encoder_modules", "_vae_modules")


def needed(features: TargetFeatures) -> bool:
    return not features.component_protocol


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    return removed(module, _DECLARED), []
