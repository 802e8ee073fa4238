"""Sizes as polynomials over the constructor's parameters, so that equal sizes compare equal.

``num_heads * head_dim`` and ``head_dim * num_heads`` are one size; ``(d + 4 * d) // d`` is 5.  Whatever is no
polynomial (``a or b``, ``int(x ** 0.5)``) becomes an atom named by its source text.
"""

from __future__ import annotations

import functools
from fractions import Fraction

from omniport.records import dataclass

Monomial = tuple[str, ...]  # sorted atoms, repeated for powers; () is the constant term; "1/x" is the inverse of "x"


@dataclass(frozen=True)
class Poly:
    """A polynomial with rational coefficients; ``terms`` holds no zero coefficient and is sorted."""

    terms: tuple[tuple[Monomial, Fraction], ...]

    def __eq__(self, other: object) -> bool:  # asked more often than anything else
        return self is other or (type(other) is Poly and self.terms == other.terms)

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def of(value: int | float | str | Poly) -> Poly:
        """A constant from a number, an atom from a string."""
        if isinstance(value, Poly):
            return value
        if isinstance(value, str):
            return Poly((((value,), Fraction(1)),))
        return _poly({(): Fraction(value)})

    def __add__(self, other: Poly) -> Poly:
        terms = dict(self.terms)
        for monomial, factor in other.terms:
            terms[monomial] = terms[monomial] + factor if monomial in terms else factor
        return _poly(terms)

    def __sub__(self, other: Poly) -> Poly:
        return self + Poly(tuple((monomial, -factor) for monomial, factor in other.terms))

    def __mul__(self, other: Poly) -> Poly:
        if self is ONE or other is ONE:
            return other if self is ONE else self
        terms: dict[Monomial, Fraction] = {}
        for a, x in self.terms:
            for b, y in other.terms:
                key = _cancelled([*a, *b])
                terms[key] = terms[key] + x * y if key in terms else x * y
        return _poly(terms)

    def divide(self, other: Poly) -> Poly | None:
        """The exact quotient, None where there is none."""
        if len(other.terms) != 1:
            return self._long_division(other)
        (divisor, factor) = other.terms[0]
        terms: dict[Monomial, Fraction] = {}
        for monomial, value in self.terms:
            rest = list(monomial)
            for atom in divisor:
                if atom in rest:
                    rest.remove(atom)
                elif atom.startswith("1/"):
                    rest.append(atom[2:])
                else:
                    return None
            terms[_cancelled(rest)] = value / factor
        return _poly(terms)

    def _long_division(self, other: Poly) -> Poly | None:
        """The exact quotient by several terms, leading term by leading term."""
        atoms = sorted(self.atoms | other.atoms)
        if not other.terms or any(atom.startswith("1/") for atom in atoms):
            return Poly.of(1) if self == other and other.terms else None

        def leading(poly: Poly) -> Poly:
            term = max(poly.terms, key=lambda item: [item[0].count(atom) for atom in atoms])
            return Poly((term,))

        rest, result = self, Poly.of(0)
        while rest.terms:
            part = leading(rest).divide(leading(other))
            if part is None:
                return None
            rest, result = rest - part * other, result + part
        return result

    def quotient(self, other: Poly) -> Poly | None:
        """The quotient by a single term, inverses of its atoms included, or by several terms if it is one term."""
        if len(other.terms) > 1 and self.terms and other != self:
            first = _poly(dict(self.terms[:1])).quotient(_poly(dict(other.terms[:1])))
            return first if first is not None and first * other == self else None
        if (exact := self.divide(other)) is not None or len(other.terms) != 1 or not other.atoms:
            return exact
        (monomial, factor) = other.terms[0]
        inverse = tuple(sorted(atom[2:] if atom.startswith("1/") else f"1/{atom}" for atom in monomial))
        return self * _poly({inverse: 1 / factor})

    @property
    def constant(self) -> Fraction | None:
        """The value, if no atom occurs."""
        if not self.terms:
            return Fraction(0)
        return self.terms[0][1] if self.terms[0][0] == () and len(self.terms) == 1 else None

    @property
    def integral(self) -> bool:
        """Whether all coefficients are whole, so that ``int()`` changes nothing."""
        return all(factor.denominator == 1 for _, factor in self.terms)

    @property
    def negative(self) -> bool:
        """Whether it is surely below zero: no term is positive."""
        return bool(self.terms) and all(factor < 0 for _, factor in self.terms)

    @functools.cached_property
    def atoms(self) -> frozenset[str]:
        """Names that occur."""
        return frozenset(atom for monomial, _ in self.terms for atom in monomial)

    def __str__(self) -> str:
        return self._text

    @functools.cached_property
    def _text(self) -> str:
        def term(monomial: Monomial, factor: Fraction) -> str:
            names = [atom if atom.isidentifier() else f"({atom})" for atom in monomial]
            if factor == 1 and names:
                return " * ".join(names)
            number = str(factor) if factor.denominator == 1 else f"({factor.numerator} / {factor.denominator})"
            return " * ".join([number, *names])

        return " + ".join(term(*item) for item in self.terms).replace("+ -", "- ") or "0"


def _cancelled(atoms: list[str]) -> Monomial:
    """``atoms`` sorted, without pairs of an atom and its inverse."""
    rest = list(atoms)
    for atom in atoms:
        if atom.startswith("1/") and atom in rest and atom[2:] in rest:
            rest.remove(atom)
            rest.remove(atom[2:])
    return tuple(sorted(rest))


def _poly(terms: dict[Monomial, Fraction]) -> Poly:
    return Poly(tuple(sorted((key, value) for key, value in terms.items() if value)))


ONE = Poly.of(1)

#: One over the number of ranks: ``width * PER_RANK`` is what a rank holds of a sharded width.
RANKS = "1/ranks"
PER_RANK = Poly.of(RANKS)
