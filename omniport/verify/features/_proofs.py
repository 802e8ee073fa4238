"""A finding from the proofs of all ranks."""

from __future__ import annotations

from typing import Any

from omniport.verify.lab import PARITY
from omniport.verify.results import Check


def checks_of(proofs: list[Any], acts: str) -> list[Check]:
    """The comparison, and whether the feature acted, which the check ``acts`` says.

    Args:
        proofs: what :meth:`omniport.verify.lab.Lab.proof` returned.
        acts: name of the second check.
    """
    problems = list(dict.fromkeys(problem for proof in proofs for problem in proof.problems))
    figures = [proof.figure for proof in proofs if proof.figure is not None]
    checks = [Check(acts, not problems, "; ".join(problems))]
    if figures:
        checks.insert(0, Check("transformer", max(figures) <= PARITY, value=max(figures), limit=PARITY))
    return checks
