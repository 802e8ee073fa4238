"""Specialisations of one class that differ in nothing, or in a number alone, are one class of the port.

A class is specialised for each set of facts about its constructor's parameters.  Where that settles no condition, what
comes of it is the same text twice, but for the numbers written out in it: these stay parameters, as the reference has
them, and the class is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst

from omniport.analyse.values import PRESENT, UNKNOWN, Const, Value, present
from omniport.analyse.variants import Notes, Variant
from omniport.rewrite.normal.fold import fold
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind

_TESTS = (cst.If, cst.IfExp, cst.BooleanOperation)


def join_alike(
    variants: dict[str, Variant], order: Sequence[str], notes: Notes, names: Mapping[str, str]
) -> dict[str, str]:
    """Key -> key of the variant that stands for it; what that one is said to be then holds for all of them.

    Args:
        variants: every variant by its key.
        order: keys of those in use, the parts of a class before it.
        notes: what was decided; numbers that stay parameters are taken out of it.
        names: key -> a name of its own.
    """
    origins = [variants[key].origin for key in order]
    stands: dict[str, str] = {}
    called = dict(names)
    for key in order:
        variant = variants[key]
        if origins.count(variant.origin) > 1:
            for other in dict.fromkeys(stands[k] for k in stands if variants[k].origin == variant.origin):
                numbers = _apart(variants[other], variant)
                if numbers is not None and _alike(variants[other], variant, numbers, notes, called):
                    _join(variants[other], variant, numbers, notes)
                    stands[key], called[key] = other, called[other]
                    break
        stands.setdefault(key, key)
    return stands


def _apart(one: Variant, other: Variant) -> frozenset[str] | None:
    """Parameters of which one is a number and the other is not the same one; None if the two are not comparable."""
    if one.scopes != other.scopes or one.swaps != other.swaps or one.arguments.keys() != other.arguments.keys():
        return None
    differ = {n: (v, other.arguments[n]) for n, v in one.arguments.items() if v != other.arguments[n]}
    return frozenset(n for n, pair in differ.items() if any(map(_number, pair)) and all(map(present, pair)))


def _number(value: Value) -> bool:
    return isinstance(value, Const) and type(value.value) in (int, float)


def _alike(one: Variant, other: Variant, numbers: frozenset[str], notes: Notes, names: Mapping[str, str]) -> bool:
    """Whether both come to the same text, ``numbers`` left as they are."""
    asked = _answers(one.methods["__init__"], notes), _answers(other.methods["__init__"], notes)
    if asked[0] != asked[1] or _answers(one.tree, notes) != _answers(other.tree, notes):
        return False
    return _text(one, numbers, notes, names) == _text(other, numbers, notes, names)


def _answers(node: cst.CSTNode, notes: Notes) -> list[object]:
    """What the conditions within ``node`` are settled to."""
    return [notes.truths.get(getattr(n, "test", n)) for kind in _TESTS for n in of_kind(node, kind)]


def _text(variant: Variant, numbers: frozenset[str], notes: Notes, names: Mapping[str, str]) -> str:
    left = {n: notes.values.pop(n) for n in _loads(variant, numbers) if n in notes.values}
    try:
        return code(fold(variant.tree, notes, names))
    finally:
        notes.values.update(left)


def _loads(variant: Variant, numbers: frozenset[str]) -> set[cst.CSTNode]:
    """Where the constructor reads these parameters, and where anything reads the attributes that hold them."""
    if not numbers:
        return set()
    init = variant.methods["__init__"]
    names: set[cst.CSTNode] = {n for n in of_kind(init, cst.Name) if n.value in numbers}
    held = {f"self.{n}" for n in numbers}
    kept = {
        dotted(line.targets[0].target)
        for line in of_kind(init, cst.Assign)
        if dotted(line.value) in numbers and dotted(line.targets[0].target) == f"self.{dotted(line.value)}"
    }
    return names | {n for n in of_kind(variant.tree, cst.Attribute) if dotted(n) in held & kept}


def _join(one: Variant, other: Variant, numbers: frozenset[str], notes: Notes) -> None:
    """Leave in what is known of ``one`` what holds for both."""
    for node in _loads(one, numbers):
        notes.values.pop(node, None)
    for name, value in one.arguments.items():
        if value != other.arguments[name]:
            both = present(value) and present(other.arguments[name])
            one.arguments[name] = PRESENT if both else UNKNOWN
    if other.inputs is not None:
        one.widen(other.inputs)
    one.owners += [owner for owner in other.owners if owner not in one.owners]
