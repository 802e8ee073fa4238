"""Casts that do nothing behind an attention layer go; every other cast stays."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.same_dtype import drop_casts

CALL = "x = self.attn(query, key, value)"
SHAPE = "x = x.flatten(2, 3)"
CAST = "x = x.to(query.dtype)"


def without(*lines: str) -> list[str]:
    module = cst.parse_module("def forward(self, x, query, key, value):\n" + "".join(f"    {line}\n" for line in lines))
    function = module.body[0]
    assert isinstance(function, cst.FunctionDef)
    made = drop_casts(function, {"attn"})
    if made is function:
        return list(lines)
    return [line.strip() for line in cst.Module([made]).code.splitlines()[1:]]


def test_a_cast_to_the_dtype_of_the_query_goes() -> None:
    assert without(CALL, SHAPE, CAST, "return x") == [CALL, SHAPE, "return x"]
    assert without(CALL, CAST, SHAPE, "return x") == [CALL, SHAPE, "return x"]


def test_a_cast_in_a_return_goes() -> None:
    assert without(CALL, SHAPE, "return x.to(query.dtype)") == [CALL, SHAPE, "return x"]


@pytest.mark.parametrize(
    "lines",
    [
        (CALL, "x = x.to(key.dtype)", "return x"),
        (CALL, "x = x.to(query.dtype, non_blocking=True)", "return x"),
        (CALL, "x = x.to(query.device)", "return x"),
        (CALL, "y = x.to(query.dtype)", "return y"),
        (CALL, "query = query.float()", CAST, "return x"),
        (CALL, "x = self.norm(x)", CAST, "return x"),
        (CALL, "x, y = x, x.float()", CAST, "return x"),
        (CALL, "x *= 2.0", CAST, "return x"),
        (CALL, "if key is None: x = x.float()", CAST, "return x"),
        ("x = self.other(query, key, value)", CAST, "return x"),
        ("x = self.attn(query + key, key, value)", CAST, "return x"),
        ("query = self.attn(query, key, value)", "query = query.to(query.dtype)", "return query"),
        (CAST, "return x"),
    ],
    ids=lambda lines: lines[1] if isinstance(lines, tuple) else None,
)
def test_any_other_cast_stays(lines: tuple[str, ...]) -> None:
    assert without(*lines) == list(lines)
