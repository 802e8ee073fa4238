"""Pairs of rotations become one call; anything that is no such pair stays."""

from __future__ import annotations

import libcst as cst
import pytest
import torch

from omniport.rewrite.qk_rope import COMPLEX, HELPER, PAIRS, join_rotations
from tests.rewrite.test_rotation import ROTATE

DIFFUSERS = {"apply_rotary_emb": "diffusers.models.embeddings.apply_rotary_emb"}


def joined(body: str, imported: dict[str, str] = DIFFUSERS) -> str:
    return join_rotations(cst.parse_module(body), imported)[0].code


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


OWN = ("query = turn(query, *tables)", "key = turn(key, *tables)")


def test_a_function_of_the_module_that_rotates_pairs() -> None:
    module, helper = join_rotations(cst.parse_module(ROTATE + block(*OWN)), {})
    assert module.code == ROTATE + block("query, key = apply_qk_rope(query, key, *tables)")
    assert helper == PAIRS.format(rotate="turn") and "turn(query, freqs_cos, freqs_sin)" in helper
    spread = block("query = turn(query, tables, other)", "key = turn(key, tables, other)")
    assert "apply_qk_rope(query, key, tables, other)" in joined(ROTATE + spread, {})


@pytest.mark.parametrize(
    ("lines", "function"),
    [
        (OWN, ROTATE.replace("a * cos - b", "a * cos + b")),  # rotates otherwise
        (OWN, "def turn(x, c, s):\n    return x\n"),
        (("query = turn(query, tables, other)", "key = turn(key, other, tables)"), ROTATE),
        (("query = turn(query, *tables)", "key = turn(key, *other)"), ROTATE),
        (("query = turn(query, c=tables, s=other)", "key = turn(key, c=tables, s=other)"), ROTATE),
        (("query = turn(query, *tables)", "rotated = turn(key, *tables)"), ROTATE),
    ],
)
def test_other_calls_of_it_stay(lines: tuple[str, ...], function: str) -> None:
    assert joined(function + block(*lines), {}) == function + block(*lines)


TABLE = {"BY_DEVICE": "diffusers.models.transformers.transformer_qwenimage.ROPE_PER_DEVICE"}
CHOSEN = 'rotate = BY_DEVICE.get(query.device.type, BY_DEVICE["cuda"])'


def test_a_function_chosen_by_device() -> None:
    lines = (CHOSEN, "query = rotate(query, tables)", "key = rotate(key, tables)")
    module, helper = join_rotations(cst.parse_module(block(*lines)), TABLE)
    assert module.code == block("query, key = apply_qk_rope(query, key, tables)")
    assert helper == COMPLEX.format(table="BY_DEVICE")
    more = (*lines, "other = rotate(other, tables)")
    assert CHOSEN in joined(block(*more), TABLE)  # still read


@pytest.mark.parametrize(
    ("lines", "imported"),
    [
        ((CHOSEN, "query = rotate(query, tables)", "key = rotate(key, tables)"), {"BY_DEVICE": "elsewhere.BY_DEVICE"}),
        (
            (CHOSEN, "query = rotate(query, tables)", "key = rotate(key, tables)"),
            {**TABLE, "apply_rotary_emb": "elsewhere.apply_rotary_emb"},
        ),
        ((CHOSEN, "query = rotate(query, tables)", "key = rotate(key, other)"), TABLE),
        ((CHOSEN, "query = rotate(query, tables, 1)", "key = rotate(key, tables, 1)"), TABLE),
        (("query = rotate(query, tables)", "key = rotate(key, tables)"), TABLE),  # of another name
    ],
)
def test_another_choice_stays(lines: tuple[str, ...], imported: dict[str, str]) -> None:
    assert joined(block(*lines), imported) == block(*lines)


def _kernel(query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> list[torch.Tensor]:
    """What the kernel computes: neighbours rotated by tables of full width, which must agree for both of a pair."""
    assert cos.shape == sin.shape == (query.shape[1], query.shape[3])
    found = []
    for x in (query, key):
        turned = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(-2)
        found.append(x * cos[:, None] + turned * sin[:, None])
    return found


@pytest.mark.parametrize("compiling", [True, False])
@pytest.mark.parametrize("supported", [True, False])
def test_the_other_helpers_give_the_kernel_what_it_takes(
    supported: bool, compiling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    from diffusers.models.embeddings import apply_rotary_emb

    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    space: dict[str, object] = {
        "torch": torch,
        "apply_rotary_emb": apply_rotary_emb,
        "fused_qk_rope": _kernel,
        "fused_qk_rope_supported": lambda *tensors: supported,
        "BY_DEVICE": {
            "cuda": lambda x, f: torch.view_as_real(
                torch.view_as_complex(x.unflatten(-1, (-1, 2))) * f[:, None]
            ).flatten(-2)
        },
    }
    query, key = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 4, 8)
    cos, sin = torch.randn(1, 3, 1, 8), torch.randn(1, 3, 1, 8)
    exec(ROTATE + PAIRS.format(rotate="turn"), space)
    got = space["apply_qk_rope"](query, key, cos, sin)  # type: ignore[operator]
    expected = [space["turn"](x, cos, sin) for x in (query, key)]  # type: ignore[operator]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, expected, strict=True))
    freqs = torch.randn(3, 4, dtype=torch.complex64)
    exec(COMPLEX.format(table="BY_DEVICE"), space)
    got = space["apply_qk_rope"](query, key, freqs)  # type: ignore[operator]
    expected = [space["BY_DEVICE"]["cuda"](x, freqs) for x in (query, key)]  # type: ignore[index]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, expected, strict=True))


def test_tables_of_each_row_are_left_to_the_plain_function() -> None:
    def never(*tensors: torch.Tensor) -> bool:
        raise AssertionError

    space: dict[str, object] = {"torch": torch, "fused_qk_rope_supported": never}
    exec(ROTATE + PAIRS.format(rotate="turn"), space)
    query = torch.randn(2, 3, 4, 8)
    for shape in ((2, 3, 1, 8), (1, 3, 4, 8), (3, 1, 8)):
        tables = torch.randn(shape), torch.randn(shape)
        got = space["apply_qk_rope"](query, query, *tables)  # type: ignore[operator]
        assert torch.equal(got[0], space["turn"](query, *tables))  # type: ignore[operator]
