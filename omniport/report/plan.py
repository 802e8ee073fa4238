"""A plan in full, readable: sections with every decision, its reason and its source line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from omniport.plan.model import Decision, PipelinePlan, PortPlan, TransformerPlan
from omniport.report.parts import grid, heading, print_parts, reason, table

#: what each parallel role means for a rank, for the reader
ROLES = {
    "column": "output sharded",
    "row": "input sharded, one all-reduce",
    "qkv": "fused, sharded by heads",
    "merged": "fused, output sharded",
    "gathered": "output sharded, then gathered",
    "scattered": "input cut by rank, one all-reduce",
    "replicated": "whole on every rank",
}


def render(plan: PortPlan, console: Console, given: Sequence[str] = ()) -> None:
    """Print a plan, and the command that writes it; ``given`` are the options that it was asked for with."""
    print_parts(_parts(plan, given), console)


def next_command(model: str, given: Sequence[str]) -> str:
    """The command that writes what was planned with the options ``given``."""
    command = shlex.join(["omniport", "scaffold", model, *given])
    return command if "--into" in given else f"{command} --into TREE"


def next_steps(plan: PortPlan, given: Sequence[str]) -> Iterator[RenderableType]:
    """What is left for a human, and the command that comes next."""
    yield from _decisions("Left for a human (TODO)", plan.todos)
    if not plan.todos:
        yield Text("Nothing is left for a human.", style="green")
    command = next_command(plan.model.model, given)
    if plan.model.path == "already supported":
        command = f"the port in the tree may do; if not: {command} --name NAME --force"
    yield Text.assemble(("next: ", "bold"), command)


def _parts(plan: PortPlan, given: Sequence[str]) -> Iterator[RenderableType]:
    yield from _model(plan)
    yield from _transformer(plan.transformer)
    yield from _pipeline(plan.pipeline)
    yield from next_steps(plan, given)


def _model(plan: PortPlan) -> Iterator[RenderableType]:
    model = plan.model
    yield heading("Model")
    facts = [
        ("model", model.model),
        ("revision", model.revision or "none"),
        ("pipeline", model.pipeline_class),
        ("path", model.path),
        ("source", model.source),
        ("port", plan.name),
        ("guide", model.follows),
    ]
    yield grid(facts)
    for why in model.why:
        yield Text.assemble("  ", reason(why))
    rows = [(c.name, c.role, f"{c.library}.{c.class_name}", c.why) for c in model.components]
    yield from table("Components", ("component", "role", "class", "why"), rows)


def _transformer(plan: TransformerPlan) -> Iterator[RenderableType]:
    yield heading(f"Transformer {plan.class_name}", plan.module)
    yield from table(
        "Classes",
        ("class", "origin", "why"),
        [(c.name, c.origin, c.why) for c in plan.classes],
    )
    yield from table(
        "Fixed by every call",
        ("class", "values"),
        [(c.name, ", ".join(f"{b.subject}={b.value}" for b in c.bindings)) for c in plan.classes if c.bindings],
    )
    yield from table(
        "Linears",
        ("linear", "role", "meaning", "fused into", "packed input", "why"),
        [
            (
                linear.path,
                linear.role,
                ROLES[linear.role],
                f"{linear.fused}[{linear.shard}]" if linear.fused else "-",
                (" if " if linear.packed[0].startswith("[") else " + ").join(linear.packed) if linear.packed else "-",
                linear.why,
            )
            for linear in plan.linears
        ],
    )
    yield from table(
        "Attention",
        ("class", "kind", "heads", "kv heads", "head dim", "scale", "causal", "why"),
        [
            (
                a.class_name,
                a.kind,
                a.heads,
                a.kv_heads,
                a.head_dim,
                a.softmax_scale,
                "yes" if a.causal else "no",
                a.why,
            )
            for a in plan.attentions
        ],
    )
    yield from table(
        "Sequence parallelism (_sp_plan)",
        ("module", "key", "what", "dim", "rank", "padding", "why"),
        [
            (
                e.module or "(root)",
                str(e.key),
                f"{e.kind}{' of the output' if e.split_output else ''}",
                str(e.dim),
                "-" if e.dims is None else str(e.dims),
                "automatic" if e.auto_pad else "none",
                e.why,
            )
            for e in plan.sp
        ],
    )
    yield from table(
        "Weights",
        ("parameter", "checkpoint", "shard"),
        [(w.parameter, w.checkpoint, w.shard or "-") for w in plan.weights],
    )
    yield from table(
        "Blocks",
        ("list", "class", "cache-dit pattern", "cached as", "why"),
        [
            (b.attribute, b.class_name, "none fits" if b.pattern is None else str(b.pattern), b.cache or "not", b.why)
            for b in plan.blocks
        ],
    )
    yield from table(
        "Features declared",
        ("feature", "declared", "why"),
        [(f.name, "yes" if f.supported else "no", f.why) for f in plan.features],
    )
    yield from _decisions("Left out of the transformer", plan.dropped)
    yield from _decisions("Other decisions on the transformer", plan.decisions)


def _pipeline(plan: PipelinePlan) -> Iterator[RenderableType]:
    yield heading(f"Pipeline {plan.class_name}", plan.module)
    hooks = [("output", plan.output), ("guidance", plan.cfg), ("post-process", plan.post_process or "none")]
    hooks += [("pre-process", plan.pre_process or "none")]
    hooks += [("reads of the transformer", ", ".join(plan.transformer_attributes) or "none")]
    yield grid(hooks)
    yield from table(
        "Arguments",
        ("argument", "from the request", "default", "why"),
        [(a.name, a.source, "-" if a.default is None else a.default, a.why) for a in plan.arguments],
    )
    yield from _decisions("Left out of the pipeline", plan.dropped)
    yield from _decisions("Other decisions on the pipeline", plan.decisions)


def _decisions(title: str, decisions: Sequence[Decision]) -> Iterator[RenderableType]:
    rows = [(d.subject, str(d.value), d.why) for d in decisions]
    yield from table(title, ("subject", "value", "why"), rows)
