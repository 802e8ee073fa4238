"""What is planned otherwise for a transformer in which calls perturb the attention of blocks."""

from __future__ import annotations

from dataclasses import replace

from omniport.analyse.parallel import ParallelPlan
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision, Why

SUBJECT = "perturbed attention"
REASON = "a step makes up to three calls, one of them with other attention: cache-dit counts two of one kind"


def perturbed(plan: ParallelPlan, how: str) -> ParallelPlan:
    """``plan`` with the decision that its forward takes the blocks to perturb, and without caching.

    Raises:
        UnsupportedError: it has no list of blocks, or several.
    """
    if len(plan.blocks) != 1:
        raise UnsupportedError(f"attention is perturbed in blocks of one list, and there are {len(plan.blocks)}")
    (blocks,) = plan.blocks
    gets = "keeps its own value" if how == "value" else "attends to itself and the text"
    made = Decision(
        SUBJECT, how, Why(f"in the blocks that a call names, a token {gets}", blocks.why.file, blocks.why.line)
    )
    why = replace(blocks.why, reason=f"{blocks.attribute}: {REASON}")
    return replace(
        plan,
        blocks=(replace(blocks, cache="", why=why),),
        features=tuple(replace(f, supported=False, why=why) if f.name == "cache-dit" else f for f in plan.features),
        decisions=(*plan.decisions, made),
    )
