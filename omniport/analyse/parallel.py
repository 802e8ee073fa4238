"""Everything that is decided from a normal form: sharding, sequence parallelism, block features."""

from __future__ import annotations

from collections import Counter

from omniport.analyse.axis_tests import axis_tests
from omniport.analyse.blocks import plan_blocks
from omniport.analyse.experts import experts
from omniport.analyse.modulated import modulated_input
from omniport.analyse.sequence.plan import plan_sequence
from omniport.analyse.shapes import Const, Tensor
from omniport.analyse.stages import plan_stages
from omniport.analyse.tp import Sharding, infer
from omniport.plan.model import (
    AttentionPlan,
    BlockListPlan,
    ConvPlan,
    Decision,
    FeaturePlan,
    LinearPlan,
    SlicePlan,
    SpEntry,
    SpRegion,
    StagesPlan,
    WeightPlan,
    Why,
)
from omniport.records import dataclass
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree


@dataclass(frozen=True)
class ParallelPlan:
    """The parts of a :class:`~omniport.plan.model.TransformerPlan` that come from the normal form alone."""

    linears: tuple[LinearPlan, ...]
    attentions: tuple[AttentionPlan, ...]
    weights: tuple[WeightPlan, ...]
    sp: tuple[SpEntry, ...]
    blocks: tuple[BlockListPlan, ...]
    features: tuple[FeaturePlan, ...]
    decisions: tuple[Decision, ...]
    region: SpRegion | None
    slices: tuple[SlicePlan, ...] = ()
    convs: tuple[ConvPlan, ...] = ()
    stages: StagesPlan | None = None


def plan_parallel(normal: NormalForm, source: SourceTree | None = None) -> ParallelPlan:
    """Plan the parallel port of ``normal``.

    Args:
        normal: the reference transformer in normal form.
        source: the package it imports from; without it modules that are only imported stay opaque.

    Raises:
        UnsupportedError: a construct of the forward is not understood, with its source line.
    """
    sharding = infer(normal, source)
    region, sp, attentions, sp_feature = plan_sequence(normal, source, sharding)
    blocks, features = plan_blocks(normal, sharding.facts)
    stages, staged = plan_stages(normal, blocks)
    return ParallelPlan(
        sharding.linears,
        attentions,
        sharding.weights,
        sp,
        blocks,
        (_tensor(sharding), sp_feature, *features, staged, *_adapters(sharding), *_masks(normal, sharding)),
        (*sharding.decisions, *experts(normal), *modulated_input(normal, blocks), *axis_tests(normal, sharding.facts)),
        region,
        sharding.slices,
        sharding.convs,
        stages,
    )


def _tensor(sharding: Sharding) -> FeaturePlan:
    """Tensor parallelism; a plan that leaves every linear whole would only compute the same on each rank."""
    name = "tensor parallelism"
    sharded = [linear for linear in sharding.linears if linear.role != "replicated"]
    if sharded:
        why = sharded[0].why
        count = f"{len(sharded)} of {len(sharding.linears)} linears are sharded"
        return FeaturePlan(name, True, Why(count, why.file, why.line))
    reasons = Counter(linear.why.reason.partition(" (")[0] for linear in sharding.linears)
    common = reasons.most_common(1)[0][0] if reasons else ""
    first = next((linear for linear in sharding.linears if linear.why.reason.startswith(common)), None)
    reason = f"no linear can be sharded; of {first.path}: {common}" if first else "it has no linear layers"
    return FeaturePlan(name, False, Why(reason, *((first.why.file, first.why.line) if first else ())))


def _masks(normal: NormalForm, sharding: Sharding) -> tuple[FeaturePlan, ...]:
    """Flash attention takes boolean masks over keys [B, S_k] alone: :mod:`omniport.rewrite.key_masks` makes those."""
    for call in sharding.facts.attentions:
        mask = call.options.get("attn_mask", Const(None))
        if mask != Const(None) and not (isinstance(mask, Tensor) and len(mask.dims or ()) == 2):
            origin = normal.origin(call.line)
            reason = "it gets masks over keys; where a mask is not over keys alone, the layer calls PyTorch's kernel"
            return (FeaturePlan("flash attention", True, Why(reason, origin.file, origin.line)),)
    return ()


def _adapters(sharding: Sharding) -> tuple[FeaturePlan, ...]:
    """LoRA: vLLM-Omni wraps every parallel linear, and cuts the A matrix of a row into one run of columns per rank."""
    if not sharding.linears:
        return ()
    first = sharding.linears[0].why
    found = [
        FeaturePlan("lora", True, Why("every sharded linear is one that vLLM-Omni's LoRA manager wraps", first.file))
    ]
    for linear in sharding.linears:
        if linear.role == "row" and linear.packed:
            reason = (
                f"the ranks hold columns of {linear.path} part by part; vLLM-Omni cuts its LoRA A matrix in one run"
            )
            found.append(
                FeaturePlan("lora with tensor parallelism", False, Why(reason, linear.why.file, linear.why.line))
            )
            break
    return tuple(found)
