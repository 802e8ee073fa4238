"""A request that steps with other numbers of forwards follow from is refused where cache-dit is on, and only there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libcst as cst
import pytest

from omniport.plan.model import Decision, Scalar, Why
from omniport.plan.subjects import ALIKE, FORWARDS
from omniport.rewrite.pipeline.alike import steps_alike


def needs(**values: Scalar) -> list[Decision]:
    why = Why("the loop", "pipeline.py", 7)
    return [Decision(FORWARDS, 2, why), *(Decision(f"{ALIKE} {name}", value, why) for name, value in values.items())]


def refused(decisions: list[Decision], backend: str | None, **given: Any) -> str:
    """What the statement raises; "" if it lets the request pass."""
    port = SimpleNamespace(od_config=SimpleNamespace(cache_backend=backend))
    try:
        exec(cst.Module(steps_alike(decisions)).code, {"self": port, **given})
    except ValueError as error:
        return str(error)
    return ""


def test_nothing_is_written_where_no_argument_matters() -> None:
    assert steps_alike(needs()) == []


@pytest.mark.parametrize(("value", "other"), [(1.0, 0.5), (None, [7]), (0, 3), (True, False), (None, 0)])
def test_another_value_is_refused_while_there_is_a_cache(value: Scalar, other: Any) -> None:
    message = refused(needs(cut=value), "cache_dit", cut=other)
    assert "cache_dit" in message and f"cut={value!r}" in message
    for backend in ("none", None):
        assert refused(needs(cut=value), backend, cut=other) == ""


def test_the_value_itself_is_served() -> None:
    for value in (1.0, None, 0, True):
        assert refused(needs(cut=value), "cache_dit", cut=value) == ""


def test_each_of_several_arguments_counts() -> None:
    both = needs(start=0.0, end=1.0)
    assert refused(both, "cache_dit", start=0.0, end=1) == ""
    for other in ({"start": 0.1, "end": 1.0}, {"start": 0.0, "end": 0.9}):
        assert "start=0.0, end=1.0" in refused(both, "cache_dit", **other)
