"""A plan in short, as ``omniport plan --short`` prints it: how each part is mapped, and what is left.

What is alike stands in one row; all decisions with their reasons are :mod:`omniport.report.plan`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath

from rich.console import Console, RenderableType
from rich.text import Text

from omniport.plan.model import LinearPlan, PipelinePlan, PortPlan, TransformerPlan, Why
from omniport.report.parts import grid, heading, place, print_parts, reason, table
from omniport.report.plan import ROLES, next_steps


def render(plan: PortPlan, console: Console, given: Sequence[str] = ()) -> None:
    """Print the summary of a plan and the commands that come next; ``given`` are the options of this command."""
    print_parts(_parts(plan, given), console)


def _parts(plan: PortPlan, given: Sequence[str]) -> Iterator[RenderableType]:
    yield from _model(plan)
    yield from _transformer(plan.transformer)
    yield from _pipeline(plan.pipeline)
    yield Text("Every decision with its reason: without --short.", style="dim")
    yield from next_steps(plan, given)


def _model(plan: PortPlan) -> Iterator[RenderableType]:
    model = plan.model
    yield heading(model.pipeline_class, f"{model.path}, {model.source}")
    present = [c for c in model.components if c.role != "absent"]
    facts = [("model", model.model), ("revision", model.revision or ""), ("port", plan.name), ("guide", model.follows)]
    facts.append(("components", ", ".join(f"{c.name} {c.class_name}" for c in present)))
    yield grid([(name, value) for name, value in facts if value])
    for why in model.why:
        yield Text.assemble("  ", reason(why))
    yield Text()


# ------------------------------------------------------------------------------------------------------ transformer
def _transformer(plan: TransformerPlan) -> Iterator[RenderableType]:
    yield heading(f"Transformer {plan.class_name}", plan.module)
    yield from table(
        "Attention, each through the Attention layer of vLLM-Omni",
        ("class", "kind", "causal", "how", "where"),
        [(a.class_name, a.kind, "yes" if a.causal else "no", a.why.reason, short(a.why)) for a in plan.attentions],
    )
    yield from table("Linears", ("class", "linears", "becomes", "meaning", "where"), _linears(plan.linears))
    yield from table(
        "Convolutions shared by ranks",
        ("convolution", "role", "where"),
        [(conv.path, conv.role, short(conv.why)) for conv in plan.convs],
    )
    yield from table("Sequence parallelism", ("what", "tensors", "where"), _split_points(plan))
    yield from table(
        "Blocks",
        ("list", "class", "cache-dit pattern", "where"),
        [
            (b.attribute, b.class_name, "none fits" if b.pattern is None else str(b.pattern), short(b.why))
            for b in plan.blocks
        ],
    )
    yield Text("Features", style="bold")
    yield grid([("yes", ", ".join(f.name for f in plan.features if f.supported) or "none")])
    for feature in plan.features:
        if not feature.supported:
            yield Text.assemble((f"no {feature.name}: ", "yellow"), reason(feature.why))
    yield Text()


def _linears(linears: Sequence[LinearPlan]) -> Iterator[Sequence[str]]:
    """One row for the linears of a class that become the same; in the order of their first."""
    rows: dict[tuple[str, str, str], list[LinearPlan]] = {}
    for linear in linears:
        owner = linear.path.partition(".")[0]
        rows.setdefault((owner, linear.role, linear.fused or ""), []).append(linear)
    for (owner, role, fused), members in rows.items():
        names = ", ".join(linear.path.partition(".")[2] for linear in members)
        yield owner, names, f"{fused} ({role})" if fused else role, ROLES[role], places(m.why for m in members)


def _split_points(plan: TransformerPlan) -> Iterator[Sequence[str]]:
    """Which tensors the ranks split among them, and which they put together, each named once."""
    region = plan.region
    for kind in ("split", "gather"):
        entries = [entry for entry in plan.sp if entry.kind == kind]
        if entries:
            named = [] if region is None else [t.variable for t in (region.split if kind == "split" else region.gather)]
            tensors = named or [f"{entry.module or '(root)'}[{entry.key}]" for entry in entries]
            yield kind, ", ".join(dict.fromkeys(tensors)), places(entry.why for entry in entries)


# --------------------------------------------------------------------------------------------------------- pipeline
def _pipeline(plan: PipelinePlan) -> Iterator[RenderableType]:
    yield heading(f"Pipeline {plan.class_name}", plan.module)
    facts = [
        ("output", plan.output),
        ("guidance", plan.cfg),
        ("from the request", ", ".join(argument.name for argument in plan.arguments)),
        ("left out", ", ".join(d.subject.removeprefix("argument ") for d in plan.dropped if _argument(d.subject))),
        ("post-process", plan.post_process or ""),
        ("pre-process", plan.pre_process or ""),
    ]
    yield grid([(name, value) for name, value in facts if value])
    yield Text()
    shown = [d for d in plan.decisions if d.subject.startswith(("guidance", "scheduler step"))]
    yield from table(
        "Denoising loop",
        ("what", "value", "where"),
        [(d.subject, str(d.value), short(d.why)) for d in shown],
    )


def _argument(subject: str) -> bool:
    return subject.startswith("argument ")


# ------------------------------------------------------------------------------------------------------------ places
def short(why: Why) -> str:
    """The place of a reason without its folders."""
    return PurePosixPath(place(why)).name


def places(whys: Iterable[Why]) -> str:
    """The places of several reasons, the lines of one file together: ``a.py:3-5, b.py:7``."""
    lines: dict[str, list[int]] = {}
    for why in whys:
        if why.file:
            lines.setdefault(PurePosixPath(why.file).name, []).append(why.line)
    return ", ".join(f"{file}:{_runs(sorted(set(found)))}" for file, found in lines.items())


def _runs(lines: Sequence[int]) -> str:
    """Numbers in order, neighbours as a range: ``47-49,53``."""
    shown: list[str] = []
    for _, run in groupby(enumerate(lines), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        shown.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
    return ",".join(shown)
