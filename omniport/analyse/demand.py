"""What a pipeline asks of its denoiser beyond its call: arguments that a port leaves out elsewhere, and members."""

from __future__ import annotations

from omniport.plan.model import Decision, PipelinePlan
from omniport.plan.subjects import CARRIED
from omniport.records import dataclass

GIVEN, MEMBER, SHARED = "denoiser given", "denoiser member", "denoiser handed on"
PROCESSOR = "denoiser processor"
PERTURBED, WITHOUT = "perturbed attention", "denoiser without"


@dataclass(frozen=True)
class Demand:
    """``given``: parameters of the forward that the pipeline passes a value for; ``members``: attributes it reads;
    ``carried``: dicts among the parameters (``joint_attention_kwargs``), each with the keys that hold data; ``shared``:
    others get the model itself, whose modules they may call as the reference's are called; ``processors``: attention
    processors that it sets, as place (``blocks.attn``: a list of blocks, then attributes of each) and dotted class;
    ``perturbed``: how a token attends in the blocks that a call names, "" if calls name none; ``without``: parameters
    of the constructor that must keep their default None.
    """

    given: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    carried: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shared: bool = False
    processors: tuple[tuple[str, str], ...] = ()
    perturbed: str = ""
    without: frozenset[str] = frozenset()


NOTHING = Demand()


def demand_of(plan: PipelinePlan) -> Demand:
    """The demand that the decisions of ``plan`` state."""

    def named(kind: str) -> frozenset[str]:
        return frozenset(d.subject[len(kind) + 1 :] for d in plan.decisions if d.subject.startswith(f"{kind} "))

    keys = {d.subject.split(" ")[-1]: tuple(str(d.value).split(", ")) for d in plan.decisions if _carries(d)}
    shared = any(d.subject == SHARED for d in plan.decisions)
    start = f"{PROCESSOR} "
    swapped = ((d.subject[len(start) :], str(d.value)) for d in plan.decisions if d.subject.startswith(start))
    perturbed = next((str(d.value) for d in plan.decisions if d.subject == PERTURBED), "")
    without = named(WITHOUT)
    return Demand(named(GIVEN), named(MEMBER), tuple(keys.items()), shared, tuple(swapped), perturbed, without)


def _carries(decision: Decision) -> bool:
    return decision.subject.startswith(f"{CARRIED} ")
