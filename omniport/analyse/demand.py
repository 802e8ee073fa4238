"""What a pipeline asks of its denoiser beyond its call: arguments that a port leaves out elsewhere, and members."""

from __future__ import annotations

from omniport.plan.model import CARRIED, Decision, PipelinePlan
from omniport.records import dataclass

GIVEN, MEMBER = "denoiser given", "denoiser member"


@dataclass(frozen=True)
class Demand:
    """``given``: parameters of the forward that the pipeline passes a value for; ``members``: attributes it reads;
    ``carried``: dicts among the parameters (``joint_attention_kwargs``), each with the keys that hold data."""

    given: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    carried: tuple[tuple[str, tuple[str, ...]], ...] = ()


NOTHING = Demand()


def demand_of(plan: PipelinePlan) -> Demand:
    """The demand that the decisions of ``plan`` state."""

    def named(kind: str) -> frozenset[str]:
        return frozenset(d.subject[len(kind) + 1 :] for d in plan.decisions if d.subject.startswith(f"{kind} "))

    keys = {d.subject.split(" ")[-1]: tuple(str(d.value).split(", ")) for d in plan.decisions if _carries(d)}
    return Demand(named(GIVEN), named(MEMBER), tuple(keys.items()))


def _carries(decision: Decision) -> bool:
    return decision.subject.startswith(f"{CARRIED} ")
