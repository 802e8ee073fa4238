"""What a reader wants first: does the port run, is it right, what is to be done next."""

from __future__ import annotations

from omniport.plan.todos import blocks
from omniport.records import dataclass
from omniport.report.page.facts import PortReport
from omniport.report.page.plot import shown
from omniport.report.parts import place
from omniport.verify.features import FEATURES

LIMIT = 1e-5  # of the contract: largest relative error of an output
VALIDATED = "validated"


@dataclass(frozen=True)
class Answer:
    """``state`` is that of the features the answer stands on: the worst of them."""

    question: str
    text: str
    state: str


def verdict(report: PortReport) -> tuple[Answer, ...]:
    """The three answers, from the evidence of the port's present source alone."""
    return _runs(report), _right(report), _next(report)


def _state(report: PortReport, feature: str) -> str:
    result = report.results.get(feature)
    return "not tested" if result is None else result.state


def _told(report: PortReport, feature: str) -> str:
    """A feature with its state and the reason for it."""
    result = report.results.get(feature)
    reason = f" ({result.reason})" if result is not None and result.reason else ""
    return f"{feature} is {_state(report, feature)}{reason}"


def _runs(report: PortReport) -> Answer:
    question = "Does it run?"
    if _state(report, "e2e") == VALIDATED:
        text = f"Yes: the pipeline goes from the request to the {report.plan.pipeline.output}."
        return Answer(question, text, VALIDATED)
    for feature, done in (("import", "Nothing is known"), ("load", "It imports"), ("e2e", "It imports and loads")):
        state = _state(report, feature)
        if state != VALIDATED:
            lead = "No" if feature == "import" and state != "not tested" else done
            return Answer(question, f"{lead}: {_told(report, feature)}.", state)
    raise AssertionError("e2e is validated")


def _right(report: PortReport) -> Answer:
    question = "Is it right?"
    wrong = [name for name in ("parity", "e2e") if _state(report, name) not in (VALIDATED, "not tested")]
    if wrong:
        state, start = _state(report, wrong[0]), _begins(report)
        lead = "In part" if state == "limited" else "No"
        return Answer(question, f"{lead}: {_told(report, wrong[0])}.{start}", state)
    if _state(report, "parity") != VALIDATED:
        return Answer(question, f"Not known: {_told(report, 'parity')}.", "not tested")
    figures = [
        f"{what} {shown(result.figure)}"
        for name, what in (("parity", "transformer"), ("e2e", "whole pipeline"))
        if (result := report.results.get(name)) is not None and result.figure is not None
    ]
    rest = "" if _state(report, "e2e") == VALIDATED else f" The whole pipeline: {_told(report, 'e2e')}."
    return Answer(question, f"Yes, held against the reference; relative error: {', '.join(figures)}.{rest}", VALIDATED)


def _begins(report: PortReport) -> str:
    """The first block that is further off than the limit; empty if none is, or none was compared."""
    for run, found in report.blocks().items():
        if run.startswith("parity"):
            first = next((row for row in found if row.error is not None and not row.error <= LIMIT), None)
            if first is not None:
                return f" It begins to differ at {first.block} ({run}: {shown(first.error)})."
    return ""


def _next(report: PortReport) -> Answer:
    question = "What next?"
    blocking = [todo for todo in report.todos if blocks(todo.subject)]
    if blocking:
        first = blocking[0]
        where = f" ({place(first.why)})" if place(first.why) else ""
        return Answer(question, f"Close {len(blocking)} blocking TODO(s), first {first.subject}{where}.", "limited")
    short = [n for n in FEATURES if (r := report.results.get(n)) is not None and r.declared and r.state != VALIDATED]
    if short:
        return Answer(question, f"Look into {', '.join(short)}: declared, and not validated.", "limited")
    untested = [name for name in FEATURES if name not in report.results]
    if untested:
        return Answer(question, f"Run omniport verify with --feature {','.join(untested)}.", "not tested")
    text = "Try it on your hardware with the published weights: speed and pictures are left."
    return Answer(question, text, VALIDATED)
