"""What the number of tensor-parallel ranks has to divide.

Sizes that the root's parameters give are checked where the root is constructed.  What a class computes in its own
words, with divisions and rounding, is checked where the layer is made, as the constructor has the number there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from itertools import product

from omniport.analyse.entry import parameters
from omniport.analyse.facts import Decisions, Facts
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Key, Num
from omniport.analyse.spelling import multiple, written
from omniport.plan.model import Decision, Why
from omniport.records import dataclass


@dataclass(frozen=True)
class Checked:
    """What is known of a model; ``why`` makes the evidence of a reason and a line of the normal form."""

    facts: Facts
    decided: Decisions
    root: ast.ClassDef
    why: Callable[[str, int], Why]


def divisors(model: Checked) -> tuple[Decision, ...]:
    """``tp divisor``: a size in constructor parameters of the root; implied ones are left out.  ``own width``: a layer
    whose width no such expression gives."""
    facts, decided = model.facts, model.decided
    needed: dict[Poly, Why] = {}
    own: dict[Key, Why] = {}
    for call in facts.attentions:
        for tensor in (call.query, call.key):
            dim = (tensor.dims or ())[2]
            if dim.parts:
                needed.setdefault(dim.size, model.why("heads are sharded", call.line))
    for size, line in facts.heads.items():
        needed.setdefault(size, model.why("a width is sharded by its heads", line))
    for (owner, _), size in decided.local.items():
        line = min((f.line for key, f in facts.linears.items() if key[0] == owner), default=0)
        for form in _forms(size, facts.choices):
            needed.setdefault(form, model.why(f"heads of {owner}", line))
    names = {node.arg for node in _arguments(model.root)}
    for key, fact in facts.linears.items():
        why = model.why(f"width of {'.'.join(key)}", fact.line)
        for size in _sizes(key, model):
            forms = list(_forms(size, facts.choices))
            if fact.rows or all(len(form.terms) == 1 and _known(form, names) for form in forms):
                needed |= {form: needed.get(form, why) for form in forms}
            else:
                own[key] = why
    for key, conv in facts.convs.items():
        if conv.role == "row" and key not in decided.whole:
            own[key] = model.why(f"channels of {'.'.join(key)}", conv.line)
    kept = []
    for size, why in needed.items():
        implied = any(other != size and multiple(size, other) for other in needed)
        if not implied and _known(size, names) and size.constant is None:
            kept.append(Decision("tp divisor", _given(model.root, written(size)), why))
    found = sorted(kept, key=lambda made: " or 0" in str(made.value))
    return (*found, *(Decision(f"own width {'.'.join(key)}", True, why) for key, why in own.items()))


def _sizes(key: Key, model: Checked) -> tuple[Poly, ...]:
    """What the ranks share of a linear: of a row, what it was sharded by; of others, in each instance of its class.

    Each size once, in the order of the source.
    """
    fact, role = model.facts.linears[key], model.decided.whole.get(key, ("column",))[0]
    if role == "replicated":
        return ()
    if role == "scattered" or fact.rows:
        return (fact.features,) if role == "scattered" else tuple(dict.fromkeys(fact.rows))
    parts = model.decided.parts.get(key, ()) if role == "column" else ()
    if len(set(parts)) > 1:
        return tuple(dict.fromkeys(parts))
    made = (leaf.argument(1, "out_features") for leaf in model.facts.layers if leaf.key == key)
    widths = tuple(dict.fromkeys(width.poly for width in made if isinstance(width, Num))) or (fact.width,)
    return tuple(width.divide(Poly.of(len(parts))) or width for width in widths) if parts else widths


def _forms(size: Poly, choices: dict[str, tuple[Poly, ...]]) -> Iterator[Poly]:
    """What ``size`` is for each choice that an ``or`` or a condition makes between numbers."""
    made = [atom for atom in sorted(size.atoms) if atom in choices]
    for chosen in product(*(choices[atom] for atom in made)):
        form: Poly | None = size
        for atom, value in zip(made, chosen, strict=True):
            rest = form.divide(Poly.of(atom)) if form is not None else None
            form = rest * value if rest is not None else None
        if form is None:
            yield size
        else:
            yield from _forms(form, choices) if made else [form]


def _known(size: Poly, names: set[str]) -> bool:
    return {atom.removeprefix("1/") for atom in size.atoms} <= names


def _arguments(root: ast.ClassDef) -> list[ast.arg]:
    init = _constructor(root)
    return [*init.args.posonlyargs, *init.args.args, *init.args.kwonlyargs]


def _constructor(root: ast.ClassDef) -> ast.FunctionDef:
    return next(node for node in root.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")


def _given(root: ast.ClassDef, size: str) -> str:
    """``size`` where a parameter of the root that may be None counts as 0: what it sizes is not there then."""
    absent = [name for name, default, _ in parameters(_constructor(root)) if getattr(default, "value", 0) is None]
    for name in absent:
        size = re.sub(rf"\b{name}\b", f"({name} or 0)", size)
    return size
