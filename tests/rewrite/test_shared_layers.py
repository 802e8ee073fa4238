"""Layers of attention calls: shared where they would be built alike, kept apart where anything differs."""

from __future__ import annotations

from dataclasses import replace

import libcst as cst
import pytest

from omniport.plan.model import AttentionPlan, Why
from omniport.rewrite.shared_layers import with_shared_layers

PLAN = AttentionPlan("Block", "heads", "heads", "64", "0.125", False, "self", Why("a call", "m.py", 1))
NUMBERED = ("attn", "attn_2", "attn_3", "attn_4")


def shared(*plans: AttentionPlan, names=NUMBERED, masked=(), taken=()) -> list[str]:
    calls = [cst.Call(cst.Name("attention")) for _ in plans]
    layers = {call: (plan, name) for call, plan, name in zip(calls, plans, names, strict=False)}
    found = with_shared_layers(layers, {calls[i] for i in masked}, taken)
    assert [found[call][0] for call in calls] == list(plans)  # what is said of each call stays
    return [found[call][1] for call in calls]


def test_calls_of_layers_built_alike_share_one() -> None:
    other_line = replace(PLAN, why=Why("another call", "m.py", 9))
    assert shared(PLAN, other_line, PLAN, PLAN) == ["attn"] * 4


def test_streams_and_masks_of_its_own_are_given_in_each_call() -> None:
    assert shared(PLAN, replace(PLAN, streams=("text",), own_mask=True)) == ["attn", "attn"]


def test_self_and_joint_attention_have_the_same_role() -> None:
    assert shared(PLAN, replace(PLAN, kind="joint")) == ["attn", "attn"]


def test_the_numbers_of_those_left_follow_each_other() -> None:
    causal = replace(PLAN, causal=True)
    assert shared(PLAN, PLAN, causal, PLAN) == ["attn", "attn", "attn_2", "attn"]


def test_cross_attention_beside_another_is_named_so() -> None:
    assert shared(PLAN, replace(PLAN, kind="cross"), PLAN) == ["attn", "cross_attn", "attn"]


def test_a_name_that_is_taken_is_not_given() -> None:
    assert shared(PLAN, replace(PLAN, kind="cross"), PLAN, taken={"cross_attn"}) == ["attn", "attn_2", "attn"]


@pytest.mark.parametrize(
    "change",
    [
        {"heads": "other"},
        {"kv_heads": "2"},
        {"head_dim": "32"},
        {"softmax_scale": "1.0"},
        {"causal": True},
        {"local": True},
        {"key_streams": (("Block.attn", ("text",)),)},
    ],
)
def test_layers_that_differ_stay_apart(change: dict[str, object]) -> None:
    assert shared(PLAN, replace(PLAN, **change)) == ["attn", "attn_2"]


def test_a_layer_for_masks_stays_apart_from_one_without() -> None:
    assert shared(PLAN, PLAN, PLAN, masked=(1,)) == ["attn", "attn_2", "attn"]


def test_names_that_say_what_is_attended_to_stay() -> None:
    assert shared(PLAN, PLAN, names=("attn", "attn_img")) == ["attn", "attn_img"]


def test_one_layer_stays() -> None:
    assert shared(PLAN) == ["attn"]


def test_no_layers() -> None:
    assert shared() == []
