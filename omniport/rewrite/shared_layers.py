"""Attention calls of a class whose layers would be built alike share one, as a person would write it.

A layer keeps nothing from one call to the next, so that the result is the same.  Only layers that are told apart by a
number are shared: a name that says what is attended to (``attn_img``) stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import libcst as cst

from omniport.plan.model import AttentionPlan


def with_shared_layers(
    layers: Mapping[cst.Call, tuple[AttentionPlan, str]], masked: Collection[cst.Call], taken: Collection[str]
) -> dict[cst.Call, tuple[AttentionPlan, str]]:
    """The layer of each call, with one name for those alike.

    Args:
        layers: attention call -> its plan, and the name its layer has so far.
        masked: calls whose layer is that for any mask.
        taken: names that the class uses for something else.
    """
    names = [name for _, name in layers.values()]
    base = names[0] if names else ""
    if names != [base, *(f"{base}_{number}" for number in range(2, len(names) + 1))] or len(names) < 2:
        return dict(layers)
    built = {call: _built(plan, call in masked) for call, (plan, _) in layers.items()}
    new = dict(zip(dict.fromkeys(built.values()), names, strict=False))
    cross = [key for key in new if key[0]]
    if len(new) == 2 and len(cross) == 1 and f"cross_{base}" not in taken:
        new = {key: f"cross_{base}" if key in cross else base for key in new}
    return {call: (plan, new[built[call]]) for call, (plan, _) in layers.items()}


def _built(plan: AttentionPlan, masked: bool) -> tuple[object, ...]:
    """What the layer is built from, first whether its role is that of a cross-attention."""
    numbers = plan.heads, plan.kv_heads, plan.head_dim, plan.softmax_scale, plan.causal
    return plan.kind == "cross", *numbers, plan.local, plan.key_streams, masked
