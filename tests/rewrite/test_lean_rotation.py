"""Rotations by diffusers' functions go to leaner ones that compute the same bits; other calls stay."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import libcst as cst
import pytest
import torch

from omniport.rewrite.lean_rotation import lean_rotations
from omniport.rewrite.syntax import imported_names

EMBEDDINGS = "from diffusers.models.embeddings import apply_rotary_emb"
LTX = "from diffusers.models.transformers.transformer_ltx import apply_rotary_emb"
LTX2 = "from diffusers.models.transformers.transformer_ltx2 import {name}"
SPLIT = LTX2.format(name="apply_split_rotary_emb")
INTERLEAVED = LTX2.format(name="apply_interleaved_rotary_emb")
BATCH, TOKENS, HEADS, WIDTH = 2, 5, 3, 8


def run(head: str, *lines: str) -> tuple[str, str]:
    """The lines of a method behind the rewrite, and the functions that go with them."""
    text = "\n".join([head, "class A:", "    def forward(self, x, tables):", *(f"        {line}" for line in lines)])
    module = cst.parse_module(text + "\n")
    made, functions = lean_rotations(module, imported_names(module))
    assert (made is module) == (not functions) == (made.code == module.code)
    return "\n".join(line.strip() for line in made.code.splitlines()[3:]), functions


def function(head: str, *lines: str) -> Callable[..., torch.Tensor]:
    """The one function that the lines call behind the rewrite."""
    _, text = run(head, *lines)
    words = head.split()
    space = {"torch": torch, words[3]: getattr(importlib.import_module(words[1]), words[3])}
    known = set(space)
    exec(text, space)
    (made,) = (value for name, value in space.items() if name not in known and name != "__builtins__")
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("apply_rotary_emb(x, tables)", "rotate_pairs(x, tables)"),
        ("apply_rotary_emb(x[:, 1:], tables, sequence_dim=1)", "rotate_pairs(x[:, 1:], tables)"),
        ("apply_rotary_emb(x, tables, use_real_unbind_dim=-2, sequence_dim=1)", "rotate_halves(x, tables)"),
        ("apply_rotary_emb(x, tables, use_real=True, use_real_unbind_dim=-2)", "rotate_halves(x, tables)"),
    ],
)
def test_a_call_of_diffusers_function(given: str, expected: str) -> None:
    line, text = run(EMBEDDINGS, f"x = {given}")
    assert line == f"x = {expected}"
    assert "sequence_dim:" not in text  # all calls say one thing, so the function does not ask


def test_calls_with_heads_in_two_places() -> None:
    """Cosmos: the query has tokens before heads, the key behind them."""
    lines, text = run(EMBEDDINGS, "x = apply_rotary_emb(x, tables, sequence_dim=1)", "y = apply_rotary_emb(y, tables)")
    assert lines == "x = rotate_pairs(x, tables, sequence_dim=1)\ny = rotate_pairs(y, tables)"
    assert text.count("def rotate_pairs(") == 1 and "sequence_dim: int = 2" in text


def test_both_functions_of_ltx2() -> None:
    head = LTX2.format(name="apply_interleaved_rotary_emb, apply_split_rotary_emb")
    lines, text = run(head, "x = apply_interleaved_rotary_emb(x, tables)", "x = apply_split_rotary_emb(x, tables)")
    assert lines == "x = rotate_pairs(x, tables)\nx = rotate_halves(x, tables)"
    assert text.count("def ") == 2


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (EMBEDDINGS, "x = apply_rotary_emb(x, tables, use_real=False)"),  # complex tables
        (EMBEDDINGS, "x = apply_rotary_emb(x, tables, sequence_dim=self.dim)"),
        (EMBEDDINGS, "x = apply_rotary_emb(x, tables, use_real_unbind_dim=0)"),
        (EMBEDDINGS, "x = apply_rotary_emb(x, *tables)"),
        (EMBEDDINGS, "x = apply_rotary_emb(x, tables, **more)"),
        (EMBEDDINGS, "x = apply_rotary_emb(x, freqs_cis=tables)"),
        (EMBEDDINGS, "x = self.apply_rotary_emb(x, tables)"),
        (EMBEDDINGS, "self.rotate = apply_rotary_emb"),
        ("from elsewhere import apply_rotary_emb", "x = apply_rotary_emb(x, tables)"),
        (f"{EMBEDDINGS}\ndef rotate_pairs(x):\n    return x", "x = apply_rotary_emb(x, tables)"),
        (f"{EMBEDDINGS}\ndef apply_rotary_emb(x):\n    return x", "x = apply_rotary_emb(x, tables)"),
    ],
)
def test_any_other_stays(head: str, line: str) -> None:
    assert run(head, line)[1] == ""


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape).to(dtype)


CASES = [
    (EMBEDDINGS, "apply_rotary_emb(x, tables)", (BATCH, HEADS, TOKENS, WIDTH), (TOKENS, WIDTH)),
    (EMBEDDINGS, "apply_rotary_emb(x, tables, sequence_dim=1)", (BATCH, TOKENS, HEADS, WIDTH), (TOKENS, WIDTH)),
    (EMBEDDINGS, "apply_rotary_emb(x, tables, use_real_unbind_dim=-2)", (BATCH, HEADS, TOKENS, WIDTH), (TOKENS, WIDTH)),
    (LTX, "apply_rotary_emb(x, tables)", (BATCH, TOKENS, HEADS * WIDTH), (1, TOKENS, HEADS * WIDTH)),
    (INTERLEAVED, "apply_interleaved_rotary_emb(x, tables)", (BATCH, TOKENS, WIDTH), (BATCH, TOKENS, WIDTH)),
    (SPLIT, "apply_split_rotary_emb(x, tables)", (BATCH, TOKENS, HEADS * WIDTH), (BATCH, HEADS, TOKENS, WIDTH // 2)),
    (SPLIT, "apply_split_rotary_emb(x, tables)", (BATCH, TOKENS, WIDTH), (BATCH, TOKENS, WIDTH // 2)),
]


@pytest.mark.parametrize("tables_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("head", "call", "shape", "table"), CASES)
def test_it_computes_the_same_bits(
    head: str, call: str, shape: tuple[int, ...], table: tuple[int, ...], dtype: torch.dtype, tables_dtype: torch.dtype
) -> None:
    torch.manual_seed(3)
    made = function(head, f"x = {call}")
    x = drawn(*shape[:-1], shape[-1] * 2, dtype=dtype)[..., ::2]  # not dense
    tables = (drawn(*table, dtype=tables_dtype), drawn(*table, dtype=tables_dtype))
    words = head.split()
    space = {"x": x, "tables": tables, words[3]: getattr(importlib.import_module(words[1]), words[3])}
    with torch.inference_mode():
        expected, got = eval(call, space), made(x, tables)
    assert got.dtype == dtype and torch.equal(got, expected)
    with torch.inference_mode():
        assert not torch.equal(made(x, (tables[1], tables[0])), expected)  # the comparison sees other tables


def test_a_compiler_sees_diffusers_function(monkeypatch: pytest.MonkeyPatch) -> None:
    made = function(EMBEDDINGS, "x = apply_rotary_emb(x, tables)")
    calls = []
    made.__globals__["apply_rotary_emb"] = lambda *args, **more: calls.append((args, more))
    x, tables = drawn(BATCH, HEADS, TOKENS, WIDTH), (drawn(TOKENS, WIDTH), drawn(TOKENS, WIDTH))
    made(x, tables)
    assert not calls
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    made(x, tables)
    assert calls == [((x, tables), {})]
