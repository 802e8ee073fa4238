"""Sizes as polynomials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniport.analyse.poly import Poly

a, b = Poly.of("a"), Poly.of("b")
polys = st.recursive(
    st.one_of(st.integers(-4, 4).map(Poly.of), st.sampled_from(["a", "b", "c"]).map(Poly.of)),
    lambda inner: st.tuples(inner, inner, st.booleans()).map(lambda t: t[0] + t[1] if t[2] else t[0] * t[1]),
    max_leaves=6,
)


def test_order_does_not_matter() -> None:
    assert a * b == b * a and a + b == b + a
    assert (a + Poly.of(4) * a).divide(a) == Poly.of(5)


@given(polys, polys)
def test_subtraction_undoes_addition(x: Poly, y: Poly) -> None:
    assert x + y - y == x


@given(polys)
def test_division_undoes_multiplication(x: Poly) -> None:
    assert (x * Poly.of(3) * a).divide(Poly.of(3) * a) == x


@given(polys, polys)
def test_division_by_several_terms_undoes_multiplication(x: Poly, y: Poly) -> None:
    assert not y.terms or (x * y).divide(y) == x


@pytest.mark.parametrize(
    ("size", "divisor"), [(a, b), (a + Poly.of(1), a), (a * a, b), (a * a + b, a + b), (a, a + b), (a, Poly.of(0))]
)
def test_what_does_not_divide(size: Poly, divisor: Poly) -> None:
    assert size.divide(divisor) is None


def test_half_sizes_are_not_whole() -> None:
    half = a.divide(Poly.of(2))
    assert half is not None and not half.integral and a.integral


def test_text_is_an_expression() -> None:
    assert str(Poly.of(4) * a * b) == "4 * a * b"
    assert eval(str(a * Poly.of(2) + b - Poly.of(3)), {"a": 5, "b": 2}) == 9
    assert str(Poly.of("x or y") * a) == "a * (x or y)"
