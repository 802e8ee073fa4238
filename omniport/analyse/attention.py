"""What an attention layer is built with, from what is known of the tensors of its calls."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from omniport.analyse.facts import AttentionFact
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Const
from omniport.plan.model import AttentionPlan

Sizes = tuple[Poly, Poly, Poly]  # heads, heads of keys and values, width of a head

_NAME = re.compile(r"[^\W\d]\w*")  # in an atom: a parameter, or an expression of parameters
_FUNCTIONS = ("sum", "len", "int", "Pow")  # in such expressions


def sizes_of(call: AttentionFact, given: Collection[str]) -> Sizes | str:
    """Heads, heads of keys and values, and their width, or why they are not known.

    What is not followed is concluded: attention takes queries and keys of one width, and as many heads of each
    unless it is told that they are grouped.

    Args:
        given: constructor parameters of the root.
    """
    query, key, value = (x.dims or () for x in (call.query, call.key, call.value))
    width = _known(given, query[3].size, key[3].size, value[3].size)
    sharded = call.query.sources | call.key.sources | call.value.sources
    # what is concluded of whole heads does not hold where the forward was misread and the heads are shared out
    if any(_known(given, dim.size) and dim.size != width for dim in (value[3], *([key[3]] if sharded else []))):
        return "its values are not as wide as its keys"
    alike = call.options.get("enable_gqa", Const(False)) == Const(False)
    heads, kv_heads = _known(given, query[2].size), _known(given, key[2].size, value[2].size)
    if alike:
        heads, kv_heads = heads or kv_heads, kv_heads or heads
    if width is None or heads is None or kv_heads is None:
        return "its sizes are not known"
    return heads, kv_heads, width


def _known(given: Collection[str], *sizes: Poly) -> Poly | None:
    """The first of ``sizes`` that is made of constructor parameters of the root alone."""
    names = {*given, *_FUNCTIONS}
    words = {s: {word for atom in s.atoms for word in _NAME.findall(atom)} for s in sizes}
    return next((s for s in sizes if words[s] <= names), None)


def agreed(found: set[AttentionPlan | str]) -> AttentionPlan | str:
    """What several walks over one attention call agree on; calls that differ in their kind alone are no cross ones.

    Which keys are whole under sequence parallelism is another walk's matter: modules of one class may differ in that.
    """
    plans = [p for p in found if isinstance(p, AttentionPlan)]
    plans.sort(key=lambda plan: (plan.kind == "cross", plan.why.reason))  # sets have no order
    reasons = [p for p in found if isinstance(p, str)]
    if reasons or len({replace(plan, kind="self", local=False, why=plans[0].why) for plan in plans}) > 1:
        return min(reasons, default="its calls differ")
    return replace(plans[0], local=all(plan.local for plan in plans))
