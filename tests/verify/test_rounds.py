"""Forwards by step, of each denoiser."""

from __future__ import annotations

from omniport.verify.tasks import rounds


def test_forwards_by_step_of_each_denoiser() -> None:
    assert rounds([[2], [4], [6], [6]]) == [[2, 2, 2]]
    assert rounds([[3], [4], [6], [7]]) == [[3, 1, 2, 1]], "one forward is behind the last step"
    assert rounds([[2, 0], [2, 2], [2, 4], [2, 4]]) == [[2], [2, 2]], "each runs some of the steps"
    assert rounds([[0]]) == [[]]
