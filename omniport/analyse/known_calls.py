"""Calls whose outcome is known from their name and the facts of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.binding import torch_version
from omniport.analyse.values import NONE, PRESENT, UNKNOWN, Const, Instances, ModuleList, Sequence, Value, join
from omniport.analyse.variants import Variant
from omniport.source.syntax import dotted


def known_call(
    variant: Variant, element: Callable[[Value], Value], name: str, node: cst.Call, values: Many[Value]
) -> Value | None:
    """What ``name(...)`` gives; None where nothing is known of such a call.

    Args:
        variant: of the module whose code holds the call.
        element: what iterating over a value gives.
        name: dotted name of the callee, empty if it has none.
        values: the facts of the arguments, in order.
    """
    if name in knowledge.DECIDED_CALLS:
        return Const(knowledge.DECIDED_CALLS[name][0])
    if name == "is_torch_version" and len(values) == 2 and all(isinstance(v, Const) for v in values):
        return Const(torch_version(*(v.value for v in values if isinstance(v, Const))))
    if name == "len" and len(values) == 1:
        return _length(values[0])
    if name in ("hasattr", "getattr") and len(values) >= 2 and isinstance(values[1], Const):
        return _attribute(variant, name, dotted(node.args[0].value) or "", values)
    if name == "self.set_processor" and values:
        variant.attributes["processor"] = values[0]
        return NONE
    if name in ("enumerate", "zip"):
        elements = tuple(element(value) for value in values)
        return ModuleList((Sequence((PRESENT, *elements) if name == "enumerate" else elements),), repeated=True)
    if name in knowledge.CONTAINERS:
        inner = values[0] if values else Sequence(())
        if inner == Const([]):
            return ModuleList((), repeated=False)
        if isinstance(inner, Sequence):
            return ModuleList(inner.items, repeated=False)
        return inner if isinstance(inner, ModuleList) else UNKNOWN
    parts = name.split(".")
    if "nn" in parts[:-1] and parts[-1][:1].isupper():
        return Instances(frozenset({name}))
    return None


def _length(value: Value) -> Value:
    if isinstance(value, Sequence):
        return Const(len(value.items))
    return Const(len(value.value)) if isinstance(value, Const) and hasattr(value.value, "__len__") else PRESENT


def _attribute(variant: Variant, name: str, owner: str, values: Many[Value]) -> Value | None:
    """``hasattr`` and ``getattr`` with a default, of the module itself."""
    wanted = values[1].value if isinstance(values[1], Const) else None
    known = {**variant.constants, **variant.attributes}
    unsure = wanted in variant.unsure
    if name == "hasattr":
        if owner != "self" or unsure:
            return Const(True) if owner in ("F", "torch.nn.functional") else PRESENT
        return Const(wanted in known or wanted in variant.methods)
    if owner != "self" or len(values) != 3:
        return None
    found = known.get(str(wanted), values[2])
    return join(found, values[2]) if unsure else found
