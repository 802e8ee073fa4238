"""States follow from checks; a feature is validated only if nothing failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omniport.verify.results import Check, FeatureResult, Finding, VerifyReport

GOOD, SIDE, BAD = Check("a", True), Check("b", False, "why", main=False), Check("c", False, "broken")


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (Finding((GOOD,)), "validated"),
        (Finding((GOOD, SIDE)), "limited"),
        (Finding((GOOD, BAD)), "unsupported"),
        (Finding((SIDE, BAD)), "unsupported"),
        (Finding(()), "not tested"),
        (Finding((GOOD,), refused="no recipe"), "not tested"),
        (Finding(undeclared="the plan leaves the sequence whole"), "unsupported"),
    ],
)
def test_state(finding: Finding, state: str) -> None:
    assert finding.state == state
    assert bool(finding.reason) == (state not in ("validated", "not tested") or bool(finding.refused))


def test_reason_names_every_failed_check() -> None:
    assert Finding((GOOD, SIDE, BAD)).reason == "failed: b: why; c: broken"


def test_figure_is_the_worst_error_and_no_share() -> None:
    checks = (
        Check("x", True, value=2e-7, limit=1e-5),
        Check("y", True, value=3e-7, limit=1e-5),
        Check("s", True, value=0.5, limit=0.52),
    )
    assert Finding(checks).figure == 3e-7
    assert Finding((GOOD,)).figure is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figure_shows_numbers_that_are_not_finite(value: float) -> None:
    figure = Finding((Check("x", True, value=1e-7, limit=1e-5), Check("y", False, value=value, limit=1e-5))).figure
    assert figure is not None and not figure < 1


def result(feature: str = "parity", state: str = "validated", digest: str = "d") -> FeatureResult:
    return FeatureResult(
        feature, state, 1e-7, "", (GOOD,), ("e",), 0.5, "omniport verify .", {"torch": "2"}, "2026", digest
    )  # type: ignore[arg-type]


def test_result_goes_to_data_and_back() -> None:
    assert FeatureResult.from_data(result().to_data()) == result()


@pytest.mark.parametrize(
    ("states", "ok"),
    [
        (["validated"], True),
        (["validated", "limited"], False),
        (["not tested"], False),
        (["unsupported"], False),
        ([], False),
    ],
)
def test_report_is_ok_only_if_all_is_validated(states: list[str], ok: bool) -> None:
    report = VerifyReport("flux", ".", tuple(result(state=s) for s in states), 1.0)
    assert report.ok is ok
    assert report.to_data()["ok"] is ok


def test_a_feature_that_the_port_does_not_declare_is_no_failure() -> None:
    absent = replace(result("sp2", "unsupported"), declared=False)
    assert VerifyReport("flux", ".", (result(), absent), 1.0).ok
    assert not VerifyReport("flux", ".", (result(), replace(absent, declared=True)), 1.0).ok


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([result()], 0),
        ([result(), result("tp2", "not tested")], 1),
        ([result(), replace(result("tp2", "not tested"), machine_failed=True)], 2),
        ([result(state="limited"), replace(result("tp2", "not tested"), machine_failed=True)], 1),
        ([result(), replace(result("sp2", "unsupported"), declared=False)], 0),
        ([], 1),
    ],
)
def test_a_machine_that_fails_is_told_from_a_port_that_does(results: list[FeatureResult], code: int) -> None:
    assert VerifyReport("flux", ".", tuple(results), 1.0).exit_code == code


def test_ranks_that_did_not_meet_or_took_too_long_leave_a_feature_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way from a rank to the state; a rank that fails in the port stays the port's failure."""
    import sys
    from types import SimpleNamespace

    from omniport.verify import runner
    from omniport.verify.features import MODULES
    from omniport.verify.forks import Outcome, RankError

    def finding(outcome: Outcome) -> Finding:
        def run(lab: object) -> Finding:
            raise RankError(outcome)

        monkeypatch.setitem(sys.modules, MODULES["tp2"], SimpleNamespace(run=run))  # type: ignore[arg-type]
        return runner.find("tp2", SimpleNamespace(port=SimpleNamespace(form="diffusers")))  # type: ignore[arg-type]

    apart = Outcome(1, error="e", refused="the ranks did not find each other", lost=True, meeting=True)
    assert apart.apart
    found = finding(apart)
    assert (found.state, found.reason, found.machine_failed) == ("not tested", apart.refused, True)
    found = finding(Outcome(1, error="RuntimeError: a mistake", meeting=True))
    assert found.state == "unsupported" and not found.machine_failed
    found = finding(Outcome(0, error="took 9 s", refused="took 9 s", silent=True, late=True))
    assert (found.state, found.reason, found.machine_failed) == ("not tested", "took 9 s", True)
    found = finding(Outcome(0, error="no answer within 9 s, it only waited", silent=True))
    assert found.state == "unsupported" and not found.machine_failed
    found = finding(Outcome(1, error="no recipe", refused="no recipe"))
    assert found.state == "not tested" and not found.machine_failed
