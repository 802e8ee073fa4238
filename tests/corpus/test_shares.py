"""What the query lengths of a rank say: evidence that the tokens are split, and what is no evidence."""

from __future__ import annotations

import pytest

from omniport.corpus.stages import shares

pytestmark = pytest.mark.verify


def test_halves_of_each_stream_with_padding() -> None:
    assert shares([24, 24], [12, 12]) == ("2 of 2 attention calls on half of the tokens", "")
    assert shares([24], [13])[1] == ""  # 15 and 9 tokens: 8 and 5 with padding


def test_calls_in_front_of_the_split_may_be_whole_if_they_are_on_fewer_tokens() -> None:
    assert shares([9, 24], [9, 12]) == ("1 of 2 attention calls on half of the tokens", "")


@pytest.mark.parametrize(
    ("alone", "local", "fault"),
    [
        ([24, 24], [24, 24], "all of 24 tokens"),
        ([24, 24], [12, 24], "all of 24 tokens"),
        ([24], [14], "all of 24 tokens"),
        ([2], [2], "all of 2 tokens"),
        ([24, 24], [12], "1 attention calls instead of 2"),
        ([], [], "0 attention calls instead of 0"),
    ],
)
def test_what_is_not_split_is_found(alone: list[int], local: list[int], fault: str) -> None:
    assert fault in shares(alone, local)[1]
