"""What counts as half of the forwards of guidance."""

from __future__ import annotations

import pytest

from omniport.verify.halves import halved


@pytest.mark.parametrize(
    ("forwards", "whole", "steps"),
    [((3, 3), 6, 3), ((6, 3), 9, 3), ((4, 2), 6, 2), ((6, 6), 12, 3), ((5, 5), 10, 3), ((2, 2), 4, 0)],
)
def test_halves(forwards: tuple[int, int], whole: int, steps: int) -> None:
    assert halved(forwards, whole, steps)


@pytest.mark.parametrize(
    ("forwards", "whole", "steps"),
    [
        ((6, 6), 6, 3),  # each rank runs all
        ((6, 0), 6, 3),  # one runs all
        ((4, 2), 6, 3),  # of an even number in a step
        ((9, 9), 9, 3),
        ((3, 6), 9, 3),  # the first rank has the odd one
        ((9, 0), 9, 3),
        ((3, 0), 3, 3),  # one prediction in a step is none to share
        ((3, 3), 3, 3),
    ],
)
def test_no_halves(forwards: tuple[int, int], whole: int, steps: int) -> None:
    assert not halved(forwards, whole, steps)
