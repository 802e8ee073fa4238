"""What both pages show of a report, in words: the same rows for HTML and for Markdown."""

from __future__ import annotations

import re

from omniport.plan.model import Decision, Why
from omniport.plan.todos import blocks, counted
from omniport.records import dataclass
from omniport.report.page.facts import MEANING, PortReport
from omniport.report.page.picture import size
from omniport.report.page.plot import shown
from omniport.report.parts import place
from omniport.verify.features import FEATURES
from omniport.verify.results import Check


@dataclass(frozen=True)
class FeatureRow:
    """A feature of ``verify``: its state, and what that stands on."""

    name: str
    meaning: str
    state: str
    figure: str
    lines: tuple[str, ...]
    seconds: str
    declared: bool = True


def origin(report: PortReport) -> list[tuple[str, str]]:
    """What was ported from what: names and values."""
    model, port, inputs = report.plan.model, report.manifest.port, report.manifest.inputs
    rows = [
        ("model", model.model),
        ("revision", model.revision or "none"),
        ("reference source", model.source),
        ("classified as", model.path),
        ("reference pipeline", port.reference_pipeline),
        ("port of it", f"{port.pipeline_module}.{port.pipeline_class}"),
        ("reference transformer", port.reference_transformer),
        ("port of it", f"{port.transformer_module}.{port.transformer_class}"),
        ("output", report.plan.pipeline.output),
        ("guidance", report.plan.pipeline.cfg),
    ]
    target = inputs.get("vllm_omni")
    return [*rows, ("written for", f"vllm-omni {target}")] if target else rows


def features(report: PortReport) -> list[FeatureRow]:
    """Every feature of ``verify``; one without evidence for the present source is not tested."""
    found = []
    for name in FEATURES:
        result = report.results.get(name)
        if result is None:
            found.append(
                FeatureRow(name, MEANING.get(name, ""), "not tested", "", ("no evidence for this source",), "")
            )
            continue
        lines = (result.reason,) if result.reason else result.evidence
        figure = "" if result.figure is None else shown(result.figure)
        seconds = f"{result.seconds:.1f}"
        found.append(FeatureRow(name, MEANING.get(name, ""), result.state, figure, lines, seconds, result.declared))
    return found


def alarming(report: PortReport) -> set[str]:
    """States other than ``validated`` of features that the port declares."""
    return {str(r.state) for r in report.results.values() if r.declared} - {"validated"}


def folded(command: str, width: int = 96) -> str:
    """A command line as a shell takes it over several lines: a longer one is broken in front of options."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"    {part}")
        else:
            lines[-1] += f" {part}" if lines[-1] else part
    return "\n".join(lines)


def checks(report: PortReport) -> list[tuple[str, Check]]:
    """Every check with its feature."""
    return [(name, check) for name, result in report.results.items() for check in result.checks]


def shares(report: PortReport) -> str:
    """What part of the published parameters ranks share; empty without a tree."""
    elements = report.elements()
    total = sum(elements.values())
    if not total:
        return ""
    return f"Of {size(total)} parameters {elements['sharded'] / total:.1%} are in layers that ranks share."


def left(report: PortReport) -> str:
    """How much is left to a human."""
    todos = report.todos
    return counted(len(todos), sum(blocks(t.subject) for t in todos))


def not_comparable(report: PortReport) -> list[str]:
    """Blocks that have no error."""
    return list(dict.fromkeys(row.block for rows in report.blocks().values() for row in rows if row.error is None))


def weights(report: PortReport) -> tuple[str, ...]:
    """What ``load`` found; empty if it was not run."""
    result = report.results.get("load")
    if result is None:
        return ()
    return (f"NOT accounted for: {result.reason}", *result.evidence) if result.reason else result.evidence


def decisions(report: PortReport) -> list[tuple[str, list[tuple[str, str, Why]]]]:
    """The plan's decisions by kind."""
    transformer, pipeline = report.plan.transformer, report.plan.pipeline
    linears: list[tuple[str, str, Why]] = [(linear.path, linear.role, linear.why) for linear in transformer.linears]
    return [
        ("Linears", linears),
        ("Attention", [(a.class_name, f"{a.kind}, {a.heads} heads", a.why) for a in transformer.attentions]),
        (
            "Sequence parallelism",
            [(e.module or "(root)", f"{e.kind} {e.key} on dim {e.dim}", e.why) for e in transformer.sp],
        ),
        ("Blocks", [(b.attribute, b.class_name, b.why) for b in transformer.blocks]),
        ("Left out of the transformer", _rows(transformer.dropped)),
        ("Other decisions on the transformer", _rows(transformer.decisions)),
        ("Arguments of the pipeline", [(a.name, a.source, a.why) for a in pipeline.arguments]),
        ("Left out of the pipeline", _rows(pipeline.dropped)),
        ("Other decisions on the pipeline", _rows(pipeline.decisions)),
    ]


def reason(why: Why) -> str:
    """A reason and its source line."""
    where = place(why)
    return f"{why.reason} ({where})" if where else why.reason


def _rows(found: tuple[Decision, ...]) -> list[tuple[str, str, Why]]:
    return [(d.subject, str(d.value), d.why) for d in found]
