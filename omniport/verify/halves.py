"""How two ranks share the forwards of guidance."""

from __future__ import annotations

from collections.abc import Sequence


def halved(forwards: Sequence[int], whole: int, steps: int) -> bool:
    """Whether each of two ranks runs half of the ``whole`` forwards of one alone, which makes as many in each step.

    Of an odd number in a step the first rank makes one more.
    """
    first, second = forwards
    odd = whole % steps == 0 and whole // steps > 1 and (whole // steps) % 2 == 1 if steps else False
    return first + second == whole and first - second == (steps if odd else 0)
