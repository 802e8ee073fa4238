"""The facts of a plan: what was decided, without the words of the source.  Goldens are made of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omniport.analyse.precision import checkpoint_tables, kept_names
from omniport.plan.model import PipelinePlan, TransformerPlan
from omniport.plan.subjects import FORWARDS


def transformer_facts(plan: TransformerPlan, normal: str) -> dict[str, Any]:
    """Names, roles and mappings of a transformer's plan, and a hash of its normal form."""
    return {
        "parameters": list(plan.parameters),
        "forward": list(plan.forward),
        "dropped": [d.subject for d in plan.dropped],
        "classes": {c.name: c.origin for c in plan.classes},
        "linears": {line.path: [line.role, line.fused, line.shard, list(line.packed)] for line in plan.linears},
        "attentions": [
            [a.class_name, a.heads, a.kv_heads, a.head_dim, a.softmax_scale, a.causal, a.kind] for a in plan.attentions
        ],
        **({"convs": {c.path: [c.role, c.parts] for c in plan.convs}} if plan.convs else {}),
        **({"slices": [[s.class_name, s.call, s.dim] for s in plan.slices]} if plan.slices else {}),
        "weights": [[w.parameter, w.checkpoint, w.shard] for w in plan.weights],
        "sp": [[e.module, e.key, e.kind, e.dim, e.dims, e.split_output, e.auto_pad] for e in plan.sp],
        "blocks": [[b.attribute, b.class_name, b.pattern, b.cache] for b in plan.blocks],
        "features": {f.name: f.supported for f in plan.features},
        "float32": kept_names(plan.decisions),
        "tables": checkpoint_tables(plan.decisions),
        "normal form": hashlib.sha256(normal.encode()).hexdigest(),
    }


def pipeline_facts(plan: PipelinePlan | None, denoisers: tuple[str, ...], reason: str) -> dict[str, Any]:
    """What was decided about a pipeline: where each argument comes from, what goes, how it guides; or why not.

    Args:
        plan: None where the pipeline was refused.
        denoisers: classes of its transformers.
        reason: of the refusal.
    """
    if plan is None:
        return {"refused": reason}
    return {
        "denoisers": list(denoisers),
        "output": plan.output,
        "guidance": plan.cfg,
        "forwards a step": next((d.value for d in plan.decisions if d.subject == FORWARDS), None),
        "arguments": {a.name: a.source for a in plan.arguments},
        "dropped": [d.subject for d in plan.dropped],
        "decisions": sorted({d.subject for d in plan.decisions}),
        "transformer attributes": list(plan.transformer_attributes),
        "post process": plan.post_process is not None,
    }


def facts_text(facts: dict[str, Any]) -> str:
    """Facts as the text of a golden: a line for each fact, so that a difference shows what changed."""
    lines = [f" {json.dumps(key)}: {_entry(value)}" for key, value in facts.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _entry(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    lines = [f"  {json.dumps(key)}: {json.dumps(inner, ensure_ascii=False)}" for key, inner in value.items()]
    return "{\n" + ",\n".join(lines) + "\n }"
