"""The role report of a custom repository, readable: every role with its score, its evidence and its source line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from rich.console import Console, RenderableType
from rich.text import Text

from omniport.plan.custom import Candidate, CustomPlan, CustomRole
from omniport.report.parts import grid, heading, print_parts, reason, table

SHOWN = 6  # candidates of one role


def render(plan: CustomPlan, console: Console, command: str, short: bool = False) -> None:
    """Print a role report, and the ``command`` that comes next where the denoiser is known.

    ``short``: the best candidates of a role, not every one.
    """
    print_parts(_parts(plan, command, short), console)


def _parts(plan: CustomPlan, command: str, short: bool) -> Iterator[RenderableType]:
    yield heading("Custom repository", plan.source)
    chosen = plan.backbone
    yield grid(
        [
            ("backbone", f"{chosen.name} ({chosen.file}:{chosen.line})" if chosen else "not decided"),
            ("variants", ", ".join(chosen.variants) if chosen and chosen.variants else "none"),
            ("media", _media(plan)),
            ("licence", plan.licence.reason + ("" if plan.permissive else "  (not permissive: clear its use first)")),
        ]
    )
    for question in (*plan.questions, *(plan.media.questions if plan.media is not None else ())):
        yield Text.assemble(("question: ", "bold yellow"), reason(question))
    yield Text()
    for role in get_args(CustomRole):
        found = [c for c in plan.candidates if c.role == role]
        shown = found[:SHOWN] if short else found
        yield from table(
            f"{role}, best of {len(found)}" if len(found) > len(shown) else role,
            ("name", "score", "where", "evidence"),
            [(c.name, str(c.score), f"{c.file}:{c.line}", _evidence(c)) for c in shown],
        )
    yield from table(
        "Dependencies beyond vLLM-Omni's",
        ("import", "install", "position", "known by", "why"),
        [(d.name, d.distribution or "?", d.position, d.provenance, d.why) for d in plan.dependencies],
    )
    for title, whys in (
        ("Weight files named", plan.weights),
        ("Never carried into a port", plan.hazards),
        ("Not read", plan.notes),
    ):
        yield from table(title, ("what",), [(why,) for why in whys])
    if chosen is not None:
        yield Text.assemble(("next: ", "bold"), command)


def _media(plan: CustomPlan) -> str:
    if plan.media is None:
        return "not decided"
    pictures = ("several images" if plan.media.several and kind == "image" else kind for kind in plan.media.inputs)
    return f"{', '.join(['text', *pictures])} to {plan.media.output or 'what is not certain'}"


def _evidence(candidate: Candidate) -> str:
    return "; ".join(f"{why.reason} (line {why.line})" for why in candidate.evidence)
