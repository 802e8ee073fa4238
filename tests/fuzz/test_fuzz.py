"""Some thousand cases of every fuzz target; ``make fuzz`` runs many more."""

from __future__ import annotations

import pytest

from omniport.errors import OmniportError
from tests.fuzz.harness import Hang, Target, run_target
from tests.fuzz.run import CI_CASES, TARGETS, shares


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_every_case_ends_in_a_clear_error_or_valid_output(target: Target) -> None:
    cases = shares(CI_CASES)[target.name]
    assert run_target(target, cases).cases >= cases


def test_enough_cases() -> None:
    assert sum(shares(CI_CASES).values()) >= CI_CASES
    assert sum(shares(100_000).values()) >= 100_000


def _crash(case: int) -> None:
    assert case < 5


def _loop(case: int) -> None:
    while True:
        pass


def _mumble(case: int) -> None:
    raise OmniportError("")


@pytest.mark.parametrize(("run", "error"), [(_crash, AssertionError), (_loop, Hang), (_mumble, AssertionError)])
def test_the_harness_catches_what_it_must(run, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from hypothesis import strategies as st

    monkeypatch.setattr("tests.fuzz.harness.SECONDS", 0.05)
    with pytest.raises(error):
        run_target(Target("x", "", "", lambda: st.integers(0, 9), run), 20)
