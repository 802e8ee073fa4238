"""Plans to JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omniport.plan.model import Decision, LinearPlan, SpEntry, Why
from omniport.plan.serial import dumps, from_data, loads, to_data

WHY = Why("because", "a/b.py", 3)
LINEAR = LinearPlan("Attention.to_q", "qkv", "to_qkv", "q", (), WHY)


@pytest.mark.parametrize(
    "value",
    [
        LINEAR,
        LinearPlan("Block.proj_out", "row", None, None, ("dim", "mlp_dim"), WHY),
        SpEntry("", "hidden_states", "split", 1, 3, False, False, WHY),
        SpEntry("context_embedder", 0, "split", 1, None, True, False, WHY),
        Decision("eps", 1e-6, WHY),
        Decision("bias", True, WHY),
        Decision("mask", None, WHY),
    ],
)
def test_round_trip(value: Any) -> None:
    assert loads(type(value), dumps(value)) == value


def test_text_is_stable() -> None:
    assert dumps(LINEAR) == dumps(loads(LinearPlan, dumps(LINEAR)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "diagonal"}, "is none of"),
        ({"path": 3}, "expected str"),
        ({"packed": "dim"}, "expected a list"),
        ({"extra": 1}, "missing or unknown keys"),
        ({"why": None}, "expected an object"),
    ],
)
def test_wrong_data_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_data(LinearPlan, to_data(LINEAR) | change)


def test_an_integer_is_no_boolean() -> None:
    data = json.loads(dumps(SpEntry("", "x", "split", 1, 3, False, False, WHY)))
    with pytest.raises(ValueError, match="expected bool"):
        from_data(SpEntry, data | {"auto_pad": 1})
