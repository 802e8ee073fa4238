"""Sizes and names in the words of a constructor."""

from __future__ import annotations

from omniport.analyse import library
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Instance, Num


def names(instance: Instance, before: str) -> dict[str, Poly]:
    """Sizes by name, in ``__init__`` where the attribute ``before`` is made: attributes, parameters, locals."""
    names: dict[str, Poly] = {}
    for name, value in instance.attributes.items():
        if name == before:
            break
        if isinstance(value, Num):
            names[f"self.{name}"] = value.poly
    for name, value in {**instance.bindings, **instance.locals}.items():
        if isinstance(value, Num):
            names[name] = value.poly
    return names


def written(size: Poly) -> str:
    """A size as an expression: inverses are divisions."""
    inverse = [atom[2:] for atom in sorted(size.atoms) if atom.startswith("1/")]
    for name in inverse:
        size = size * Poly.of(name)
    return " // ".join([f"({size})" if inverse and len(str(size).split()) > 1 else str(size), *inverse])


def multiple(size: Poly, of: Poly) -> bool:
    quotient = size.divide(of)
    return quotient is not None and quotient.integral and quotient != Poly.of(1)


def fused_name(query: str) -> str:
    """The attribute that takes in a query projection and its siblings."""
    for old, new in library.FUSED_NAMES:
        if query == old or query.endswith(f".{old}"):
            return query[: len(query) - len(old)] + new
    return f"{query}_kv"
