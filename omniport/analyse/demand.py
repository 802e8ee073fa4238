"""What a pipeline asks of its denoiser beyond its call: arguments that a port leaves out elsewhere, and members."""

from __future__ import annotations

from dataclasses import dataclass

from omniport.plan.model import PipelinePlan

GIVEN, MEMBER = "denoiser given", "denoiser member"


@dataclass(frozen=True)
class Demand:
    """``given``: parameters of the forward that the pipeline passes a value for; ``members``: attributes it reads."""

    given: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()


NOTHING = Demand()


def demand_of(plan: PipelinePlan) -> Demand:
    """The demand that the decisions of ``plan`` state."""

    def named(kind: str) -> frozenset[str]:
        return frozenset(d.subject[len(kind) + 1 :] for d in plan.decisions if d.subject.startswith(f"{kind} "))

    return Demand(named(GIVEN), named(MEMBER))
