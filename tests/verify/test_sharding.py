"""Counting the image tokens of a rank from lengths alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from omniport.verify.features.sp2 import _sharded, image_tokens, lengths, local_text, shares

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


def blocks_fault(alone: dict[str, list[int]], local: dict[str, list[int]], queries: list[int]) -> str:
    return shares(*lengths(alone, local, SIZES.text, queries))[1]


def test_blocks_that_get_all_tokens_are_found_whatever_attention_is_given() -> None:
    alone, whole, half = {"x": [44, 44], "temb": [1]}, {"x": [44, 44], "temb": [1]}, {"x": [22, 22], "temb": [1]}
    assert blocks_fault(alone, whole, [44, 44]) == "a rank attends with all of 44 tokens"
    assert blocks_fault(alone, half, [44, 44]) == ""


def test_text_of_keys_alone_may_be_longer_than_the_picture() -> None:
    """Every rank needs all keys (20) for its part of the queries (12); the picture must be split all the same."""
    alone = {"hidden_states": [12, 12], "temb": [6, 6], "encoder_hidden_states": [20, 20]}
    half, queries = {**alone, "hidden_states": [6, 6]}, [12, 12]
    assert blocks_fault(alone, half, queries) == ""
    assert blocks_fault(alone, alone, queries) == "a rank attends with all of 12 tokens"
    assert blocks_fault(alone, half, [20, 12]) == "a rank attends with all of 20 tokens"  # it has queries, too
    other = {"encoder_hidden_states": [20, 20], "temb": [6, 6]}
    assert blocks_fault(other, other, queries) == "a rank attends with all of 20 tokens"  # none holds the picture


def test_refiners_in_front_of_the_blocks_may_be_given_all_of_the_picture() -> None:
    alone = {"x": [20, 24, 44, 44], "angles": [20, 24, 44, 44]}
    half = {"x": [20, 24, 22, 22], "angles": [20, 24, 22, 22]}
    assert blocks_fault(alone, half, [20, 24, 44, 44]) == ""
    assert blocks_fault(alone, {**half, "x": [20, 24, 44, 22]}, [20, 24, 44, 44])
    assert blocks_fault(alone, {"x": half["x"]}, [20, 24, 44, 44])  # an argument is not given at all


@pytest.mark.parametrize(
    ("alone", "local"),
    [
        ([20, 12, 12], [10, 12, 12]),  # a refiner of the text is split, the picture is not
        ([12, 20, 12, 20], [12, 10, 12, 10]),
        ([24, 44, 24, 44], [12, 22, 24, 22]),
    ],
)
def test_a_port_that_splits_only_the_longest_is_found(alone: list[int], local: list[int]) -> None:
    assert shares(alone, local)[1]


def test_half_of_the_places_is_half_of_the_tokens() -> None:
    """24 places of 3 frames: each frame is attended to by itself, then each place over all frames."""
    alone, local = ([24, 3, 24, 3], [6, 48, 6, 48]), ([12, 3, 12, 3], [6, 24, 6, 24])
    assert shares(alone[0], local[0], (alone[1], local[1]))[1] == ""
    assert shares(alone[0], local[0], (alone[1], alone[1]))[1] == "a rank attends with all of 3 tokens"
    samples = "half of the samples alone is no half of the longest"
    assert shares([12], [12], ([2], [1]))[1] == "a rank attends with all of 12 tokens", samples


@pytest.mark.verify
@pytest.mark.parametrize(
    ("shapes", "batch", "counts"),
    [
        ({"x": (2, 44, 8), "temb": (2, 8)}, 2, {"x": 44}),
        ({"x": (44, 2, 8), "temb": (2, 8), "mask": (2, 1, 1, 44)}, 2, {"x": 44}),  # tokens first
        ({"x": (2, 2, 8)}, 2, {"x": 2}),
        ({"x": (44, 8), "y": (20, 8), "angles": (44,)}, 1, {"x": 44, "y": 20}),  # packed
        ({"mask": (2, 1, 1, 44)}, 2, {}),
        ({"x": (2, 44, 8)}, 0, {"x": 44}),  # a block without attention
    ],
)
def test_tokens_are_counted_on_the_axis_that_is_not_the_batch(
    shapes: dict[str, tuple[int, ...]], batch: int, counts: dict[str, int]
) -> None:
    pytest.importorskip("torch")
    from omniport.verify.meter import token_counts

    assert token_counts(shapes, batch) == counts
