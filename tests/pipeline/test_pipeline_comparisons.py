"""Negated comparisons are written by their opposite, where there is one."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline import comparisons
from omniport.rewrite.pipeline.comparisons import plain_comparisons
from omniport.source.syntax import code
from tests.pipeline.helpers import block

FUNCTION = "def decode(self, a, b):\n    if {}:\n        return a\n    return b\n"


def written(test: str) -> tuple[str, str]:
    (function,) = block(FUNCTION.format(test))
    new = plain_comparisons(function)  # type: ignore[arg-type]
    assert (new is function) == (code(new) == code(function))
    return code(function), code(new)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('not a == "latent"', 'a != "latent"'),
        ("not (a is b)", "a is not b"),
        ("b or (not a in b)", "b or (a not in b)"),
        ("not a != b and not b is None", "a == b and b is not None"),
    ],
)
def test_a_negated_comparison_is_the_opposite_one(before: str, after: str) -> None:
    scope = {"a": "latent", "b": ("latent",)}
    assert written(before)[1].strip() == FUNCTION.format(after).strip()
    assert bool(eval(before, {}, scope)) == bool(eval(after, {}, scope))


NONE = ["not a < b", "not a == b == 1", "not a", "not (a == b or b)", "-a == b", "not a(b)"]


@pytest.mark.parametrize("test", NONE)
def test_all_else_stays(test: str) -> None:
    before, after = written(test)
    assert after == before


def test_without_the_question_orders_would_be_taken_for_equal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "_NEGATABLE", (*comparisons._NEGATABLE, comparisons.cst.LessThan))
    before, after = written("not a < b")
    assert after != before
