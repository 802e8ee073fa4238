"""Features that a tree lacks go from the plan, so that nothing is written for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from omniport.analyse.precision import kept_names
from omniport.plan.model import FeaturePlan, PortPlan, TransformerPlan, Why

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_GROUPS = "this vLLM-Omni records the length of one padded stream alone (no shard_group in its sp_plan)"
_PRECISION = "this vLLM-Omni's HSDP gathers a block in one precision, and the model keeps some parameters in float32"


def older(port: PortPlan, features: TargetFeatures) -> tuple[PortPlan, tuple[str, ...]]:
    """``port`` for the tree, with the reasons of what is left out."""
    transformer, notes = port.transformer, []
    if not features.sp_shard_group and transformer.sp:
        transformer = _without_sequence(transformer)
        notes.append(f"sequence parallelism is left out: {_GROUPS}")
    hsdp = next((f for f in transformer.features if f.name == "hsdp"), None)
    kept = kept_names(transformer.decisions)
    if not features.hsdp_preserve_dtypes and kept and hsdp is not None and hsdp.supported:
        transformer = _unsupported(transformer, "hsdp", _PRECISION)
        notes.append(f"HSDP is left out: {_PRECISION}")
    return (port if transformer is port.transformer else replace(port, transformer=transformer)), tuple(notes)


def _without_sequence(plan: TransformerPlan) -> TransformerPlan:
    attentions = tuple(replace(a, local=False, streams=(), key_streams=()) for a in plan.attentions)
    return _unsupported(replace(plan, sp=(), region=None, attentions=attentions), "sequence parallelism", _GROUPS)


def _unsupported(plan: TransformerPlan, name: str, reason: str) -> TransformerPlan:
    features = tuple(FeaturePlan(f.name, False, Why(reason)) if f.name == name else f for f in plan.features)
    return replace(plan, features=features)
