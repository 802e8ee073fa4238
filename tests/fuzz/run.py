"""All targets, and how a number of cases is shared among them."""

from __future__ import annotations

import math

from tests.fuzz import code, emitted, files
from tests.fuzz.harness import Target

TARGETS: list[Target] = [*files.TARGETS, *emitted.TARGETS, *code.TARGETS]
CI_CASES = 5_000
LEAST = 6


def shares(cases: int) -> dict[str, int]:
    """Cases of each target, at least ``cases`` in all; what a slow target may not take goes to the others."""
    limits = {t.name: t.most for t in TARGETS}
    total = sum(t.share for t in TARGETS)
    wanted = {t.name: max(LEAST, math.ceil(cases * t.share / total)) for t in TARGETS}
    given = {name: min(number, limits[name]) for name, number in wanted.items()}
    free = [t for t in TARGETS if given[t.name] < limits[t.name]]
    missing = max(0, cases - sum(given.values()))
    weight = sum(t.share for t in free)
    for t in free:
        given[t.name] = min(limits[t.name], given[t.name] + math.ceil(missing * t.share / weight))
    return given
