"""What the plan records of each class of a port: what it binds, what it folds, and why."""

from __future__ import annotations

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.values import PRESENT, Const, Instances, present
from omniport.analyse.variants import Notes, Variant
from omniport.plan.model import ClassPlan, Decision, Scalar, Why
from omniport.source.slice import marker
from omniport.source.syntax import code
from omniport.source.walk import children, of_kind, walk


def class_plan(variant: Variant, name: str, variants: dict[str, Variant], notes: Notes) -> ClassPlan:
    """The plan's entry for one class of the port."""
    where = where_of(variant.tree)
    bindings = []
    for kind, table in (("", variant.arguments), ("forward ", variant.inputs or {})):
        for key, value in table.items():
            if isinstance(value, Const) and isinstance(value.value, bool | int | float | str | type(None)):
                why = Why(f"every {kind}call fixes it" if kind else "every construction fixes it", *where)
                bindings.append(Decision(f"{kind}{key}", value.value, why))
    folds = []
    for node in _ifs(variant.tree):
        taken = notes.truths.get(node.test)
        if isinstance(taken, bool):
            folds.append(Decision(code(node.test), taken, Why(_reason(node.test, notes), *where_of(node))))
    origin = f"{variant.origin.module}.{variant.origin.name}"
    reason = "builds linears or runs attention; specialised for " + (
        ", ".join(variants[o].origin.name for o in variant.owners) or "the pipeline"
    )
    return ClassPlan(name, origin, tuple(bindings), tuple(folds), Why(reason, *where))


def where_of(node: cst.CSTNode) -> tuple[str, int]:
    """File and line of a class as it was in the sources, ("", 0) if its markers are gone."""
    statements = (part for part in walk(node) if isinstance(part, cst.SimpleStatementLine))
    return marker(node) or next((m for m in map(marker, statements) if m), ("", 0))


def _reason(test: cst.BaseExpression, notes: Notes) -> str:
    facts: dict[str, Scalar] = {}
    for node in _loads(test):
        value = notes.values.get(node)
        if isinstance(value, Const) and isinstance(value.value, bool | int | float | str | type(None)):
            facts[code(node)] = value.value
        elif present(value) if isinstance(value, Instances) else value == PRESENT:
            facts[code(node)] = "given"
    known = [
        reason for table in (knowledge.DECIDED_CALLS,) for call, (_, reason) in table.items() if call in code(test)
    ]
    return (
        "; ".join(known + [f"{name} is {value}" for name, value in facts.items()]) or "only a deprecated call uses it"
    )


def _ifs(node: cst.CSTNode) -> list[cst.If]:
    return of_kind(node, cst.If)


def _loads(node: cst.CSTNode) -> list[cst.BaseExpression]:
    """Names and whole attribute chains in an expression."""
    if isinstance(node, cst.Name | cst.Attribute):
        return [node]
    return [load for child in children(node) for load in _loads(child)]
