"""Long comments: prose is filled; an example of code keeps its place behind the hash, and is broken behind commas."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.comments import filled


@pytest.mark.parametrize(
    ("comment", "lines"),
    [
        ("# one two three four five", ["# one two three", "# four five"]),
        ("#one two three four five", ["# one two three", "# four five"]),
        ('#   {"a": one, "b": two},', ['#   {"a": one,', '#    "b": two},']),
        ('#   {"a": one},      # of two', ["#   # of two", '#   {"a": one},']),
        ("#   x = [", ["#   x = ["]),
        ("#   averyveryverylongname", ["#   averyveryverylongname"]),
        ("#     one two three", ["#     one two", "#      three"]),
    ],
)
def test_lines(comment: str, lines: list[str]) -> None:
    assert filled(comment, "  ", 18) == [f"  {line}" for line in lines]


def test_no_word_is_lost() -> None:
    comment = '#   {"a": one, "b": {"c": two}, "d": three},  # four'
    text = " ".join(line.strip(" #") for line in filled(comment, "    ", 24))
    assert sorted(text.split()) == sorted(comment.replace("#", "").split())
