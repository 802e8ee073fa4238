"""Which steps a tree needs, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.plan.model import PortPlan
from omniport.rewrite.generation import attention, cache, components, frames, guidance, output, plan, request, scale
from omniport.rewrite.generation import transformer as declarations

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_PIPELINE = (request, guidance, frames, scale, output, components)
_TRANSFORMER = (attention, cache, declarations)


def older_plan(port: PortPlan, features: TargetFeatures) -> tuple[PortPlan, tuple[str, ...]]:
    """``port`` without what the tree cannot do, and a note on each thing that is left out."""
    return plan.older(port, features)


def older_pipeline(code: str, features: TargetFeatures) -> tuple[str, tuple[str, ...]]:
    """The pipeline module for a tree of ``features``, and notes on what it cannot do there."""
    return _steps(code, features, _PIPELINE)


def older_transformer(code: str, features: TargetFeatures) -> tuple[str, tuple[str, ...]]:
    """The transformer module for a tree of ``features``, and notes."""
    return _steps(code, features, _TRANSFORMER)


def _steps(code: str, features: TargetFeatures, steps: tuple[object, ...]) -> tuple[str, tuple[str, ...]]:
    wanted = [step for step in steps if step.needed(features)]  # type: ignore[attr-defined]
    if not wanted:
        return code, ()
    module = cst.parse_module(code)
    notes: list[str] = []
    for step in wanted:
        module, said = step.older(module, features)  # type: ignore[attr-defined]
        notes += said
    return module.code, tuple(notes)
