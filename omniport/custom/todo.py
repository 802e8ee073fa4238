"""Gaps that a human must fill: counted, each with its evidence, in the code and in the plan.

A marker is ``OMNIPORT-TODO(ID)``; ``omniport check`` counts them (OP971).
"""

from __future__ import annotations

from omniport.plan.model import Decision, Why
from omniport.plan.todos import IDS


def todo(identity: str, detail: str, why: Why) -> Decision:
    """One TODO of a plan.

    Raises:
        KeyError: ``identity`` is none of :data:`~omniport.plan.todos.IDS`.
    """
    what, _ = IDS[identity]
    return Decision(identity, f"{what}: {detail}" if detail else what, why)


def marker(identity: str) -> str:
    """The text that stands in the code."""
    return f"OMNIPORT-TODO({identity})"
