"""Tiny configs that four tensor-parallel ranks can share."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from omniport.verify.transformers import FOUR_RANKS, for_four_ranks  # noqa: E402

pytestmark = pytest.mark.verify


def test_heads_that_four_ranks_share_stay() -> None:
    config = {"num_attention_heads": 4, "attention_head_dim": 16, "hidden_size": 64}
    assert for_four_ranks("Net", config) == config


def test_grouped_heads_are_doubled_with_their_width() -> None:
    config = {"num_attention_heads": 4, "num_kv_heads": 2, "hidden_size": 64, "dim": 40, "depth": 2}
    wide = {"num_attention_heads": 8, "num_kv_heads": 4, "hidden_size": 128, "dim": 40, "depth": 2}
    assert for_four_ranks("Net", config) == wide


@pytest.mark.parametrize("name", FOUR_RANKS)
def test_sizes_of_a_class_replace_those_it_has(name: str) -> None:
    key, value = next(iter(FOUR_RANKS[name].items()))
    assert for_four_ranks(name, {key: 4, "other": 3}) == {key: value, "other": 3}
