"""Pairs of rotations become one call; anything that is no such pair stays."""

from __future__ import annotations

import libcst as cst
import pytest
import torch

from omniport.rewrite.qk_rope import HELPER, join_rotations

DIFFUSERS = {"apply_rotary_emb": "diffusers.models.embeddings.apply_rotary_emb"}


def joined(body: str, imported: dict[str, str] = DIFFUSERS) -> str:
    return join_rotations(cst.parse_module(body), imported).code


def block(*lines: str) -> str:
    return "def forward(self, query, key, tables, other):\n" + "".join(f"    {line}\n" for line in lines)


def test_a_pair_by_the_same_tables_becomes_one_call() -> None:
    text = joined(
        block(
            "query = apply_rotary_emb(query, tables, sequence_dim=1)",
            "key = apply_rotary_emb(key, tables, sequence_dim=1)",
            "return query, key",
        )
    )
    assert text == block("query, key = apply_qk_rope(query, key, tables)", "return query, key")


QUERY = "query = apply_rotary_emb(query, tables, sequence_dim=1)"
KEPT = {
    "one alone": (QUERY,),
    "other tables": (QUERY, "key = apply_rotary_emb(key, other, sequence_dim=1)"),
    "heads first": (QUERY, "key = apply_rotary_emb(key, tables)"),
    "another pairing": (QUERY, "key = apply_rotary_emb(key, tables, sequence_dim=1, use_real_unbind_dim=-2)"),
    "another target": (QUERY, "rotated = apply_rotary_emb(key, tables, sequence_dim=1)"),
    "the same twice": (QUERY, QUERY),
    "something between": (QUERY, "self.seen(query)", "key = apply_rotary_emb(key, tables, sequence_dim=1)"),
    "a part of a tensor": (QUERY, "key[:, 1:] = apply_rotary_emb(key[:, 1:], tables, sequence_dim=1)"),
}


@pytest.mark.parametrize("lines", KEPT.values(), ids=KEPT)
def test_what_is_no_such_pair_stays(lines: tuple[str, ...]) -> None:
    assert joined(block(*lines)) == block(*lines)


def test_a_function_of_another_module_stays() -> None:
    pair = block(QUERY, "key = apply_rotary_emb(key, tables, sequence_dim=1)")
    assert joined(pair, {"apply_rotary_emb": "somewhere.apply_rotary_emb"}) == pair


@pytest.mark.parametrize("supported", [True, False])
def test_the_helper_takes_the_kernel_where_it_can(supported: bool) -> None:
    pytest.importorskip("diffusers")
    from diffusers.models.embeddings import apply_rotary_emb

    calls: list[str] = []

    def kernel(query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[object, object]:
        calls.append("kernel")
        return query, key

    space = {
        "torch": torch,
        "apply_rotary_emb": apply_rotary_emb,
        "fused_qk_rope": kernel,
        "fused_qk_rope_supported": lambda *tensors: supported,
    }
    exec(HELPER, space)
    query, key = torch.randn(1, 3, 2, 4), torch.randn(1, 3, 2, 4)
    tables = torch.randn(3, 4), torch.randn(3, 4)
    got = space["apply_qk_rope"](query, key, tables)  # type: ignore[operator]
    expected = (query, key) if supported else [apply_rotary_emb(x, tables, sequence_dim=1) for x in (query, key)]
    assert calls == (["kernel"] if supported else [])
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
