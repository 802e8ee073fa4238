"""Counting the image tokens of a rank from lengths alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from omniport.verify.features.sp2 import _lengths, _sharded, image_tokens, local_text, shares

SIZES = SimpleNamespace(image=24, text=20)


@pytest.mark.parametrize(
    ("before", "after", "text", "tokens"),
    [
        ([24, 24], [12, 12], 20, 12),  # image tokens split
        ([44], [32], 20, 12),  # image split, text replicated beside it
        ([24, 44], [12, 32], 20, 12),
        ([44], [22], 10, 12),  # both split
        ([24, 24], [24, 24], 20, 24),  # nothing split
        ([24, 24], [12, 24], 20, 24),  # only the first call split
        ([44], [44], 20, 24),
        ([44], [34], 10, 24),  # only the text split
        ([20], [20], 20, 24),  # only text was seen: nothing shows that the image was split
        ([20, 24], [20, 12], 20, 12),
        ([24, 24], [12], 20, 24),  # another number of calls
        ([], [], 20, 24),
    ],
)
def test_image_tokens(before: list[int], after: list[int], text: int, tokens: int) -> None:
    assert image_tokens(before, after, SIZES, text) == tokens


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"encoder_hidden_states": [20, 20]}, {"encoder_hidden_states": [10, 10]}, 10),
        ({"encoder_hidden_states": [20, 20]}, {"encoder_hidden_states": [10, 20]}, 20),
        ({"hidden_states": [24]}, {"hidden_states": [12]}, 20),
        ({"encoder_hidden_states": [20]}, {}, 20),
        ({}, {}, 20),
    ],
)
def test_local_text(before: dict[str, list[int]], after: dict[str, list[int]], text: int) -> None:
    assert local_text(before, after, 20) == text


@pytest.mark.parametrize(
    ("counts", "ok"), [([12, 12], True), ([12, 24], False), ([24, 24], False), ([2, 2], False), ([10, 12], False)]
)
def test_each_rank_has_half_and_together_they_have_all(counts: list[int], ok: bool) -> None:
    assert _sharded("tokens", counts, 24).ok is ok


def test_calls_in_front_of_the_split_may_be_whole_where_the_longest_are_halved() -> None:
    """A rank refines all of its picture (24 tokens) and text (20) before the blocks that have both (44)."""
    assert shares([24, 20, 44, 44], [24, 20, 22, 22]) == ("2 of 4 attention calls on half of the tokens", "")
    assert shares([24, 20, 44, 44], [24, 20, 44, 22])[1] == "a rank attends with all of 44 tokens"
    assert shares([24, 20], [24, 20])[1]


def test_blocks_that_get_all_tokens_are_found_whatever_attention_is_given() -> None:
    alone, whole, half = {"x": [44, 44], "temb": [1]}, {"x": [44, 44], "temb": [1]}, {"x": [22, 22], "temb": [1]}
    assert shares(_lengths(alone), _lengths(whole))[1] == "a rank attends with all of 44 tokens"
    assert shares(_lengths(alone), _lengths(half))[1] == ""
