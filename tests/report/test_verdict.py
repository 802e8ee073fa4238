"""The first lines of a report: whether the port runs, whether it is right, what comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omniport.plan.model import Decision, Why
from omniport.report.page.facts import PortReport
from omniport.report.page.html import html
from omniport.report.page.markdown import markdown
from omniport.report.page.verdict import verdict
from omniport.verify.features import FEATURES
from omniport.verify.results import BlockError
from tests.report.test_port_report import report, result  # noqa: F401

TODO = Decision("DENOISE", "the loop", Why("the loop is not read", "toy/engine.py", 12))


def answers(report: PortReport, **states: str) -> list[str]:  # noqa: F811
    """The three texts for a port with these states, and no evidence for other features."""
    results = {name: result(name, "x", state=state) for name, state in states.items()}
    return [answer.text for answer in verdict(replace(report, results=results))]


def test_a_port_with_everything_validated(report: PortReport) -> None:  # noqa: F811
    runs, right, then = answers(report, **dict.fromkeys(FEATURES, "validated"))
    assert runs == "Yes: the pipeline goes from the request to the image."
    assert right == "Yes, held against the reference; relative error: transformer 3.0e-07, whole pipeline 3.0e-07."
    assert then.startswith("Try it on your hardware")


def test_a_port_without_evidence(report: PortReport) -> None:  # noqa: F811
    runs, right, then = answers(report)
    assert (runs, right) == ("Nothing is known: import is not tested.", "Not known: parity is not tested.")
    assert then == f"Run omniport verify with --feature {','.join(FEATURES)}."


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ({"import": "unsupported"}, "No: import is unsupported (wrong)."),
        ({"import": "validated", "load": "unsupported"}, "It imports: load is unsupported (wrong)."),
        ({"import": "validated", "load": "validated"}, "It imports and loads: e2e is not tested."),
    ],
)
def test_how_far_it_runs(report: PortReport, states: dict[str, str], text: str) -> None:  # noqa: F811
    assert answers(report, **states)[0] == text


def test_a_wrong_port_names_the_block_where_it_begins(report: PortReport) -> None:  # noqa: F811
    blocks = tuple(BlockError("24 tokens", f"blocks.{i}", error) for i, error in enumerate((None, 1e-7, 0.3, 0.9)))
    wrong = replace(result("parity", "x", state="unsupported"), blocks=blocks)
    found = verdict(replace(report, results={"parity": wrong}))
    assert (
        found[1].text
        == "No: parity is unsupported (wrong). It begins to differ at blocks.2 (parity, 24 tokens: 3.0e-01)."
    )
    assert found[1].state == "unsupported"
    assert answers(report, parity="limited")[1] == "In part: parity is limited (wrong)."
    assert answers(report, parity="validated", e2e="unsupported")[1] == "No: e2e is unsupported (wrong)."


def test_what_comes_next(report: PortReport) -> None:  # noqa: F811
    states = {**dict.fromkeys(FEATURES, "validated"), "tp2": "limited"}
    assert answers(report, **states)[2] == "Look into tp2: declared, and not validated."
    blocked = verdict(replace(report, todos=(TODO,)))[2]
    assert blocked.text == "Close 1 blocking TODO(s), first DENOISE (toy/engine.py:12)."
    undeclared = {name: result(name, "x") for name in FEATURES}
    undeclared["tp2"] = replace(undeclared["tp2"], state="limited", declared=False)
    assert verdict(replace(report, results=undeclared))[2].text.startswith("Try it")


def test_both_pages_begin_with_it(report: PortReport) -> None:  # noqa: F811
    page, text = html(report), markdown(report)
    assert page.index('id="verdict"') < page.index('id="ported"')
    for answer in verdict(report):
        assert answer.question in page and f"**{answer.question}** " in text
    assert text.index("**What next?**") < text.index("### Features")
