"""The guidance scale of a request goes to the guider, which the reference's call leaves at the scale of its config.

Where the model takes the guidance scale itself, as an embedding, the guider's is ``true_cfg_scale``.  A request that
gives none gets the config's again: the guider is the same object for all requests.
"""

from __future__ import annotations

from omniport.plan.model import PipelinePlan
from omniport.rewrite.pipeline.blocks import Block, parse
from omniport.rewrite.pipeline.facts import name_of, of_kind

SCALED = "scaled"
"""Kind of the decision about a guider component whose config holds its scale."""

_EMBEDDED = "params.guidance_scale"


def guider_scales(plan: PipelinePlan) -> Block:
    """The statements that hand the scale over; none where no guider takes one."""
    embedded = any(_EMBEDDED in a.source for a in plan.arguments)
    field = "params.true_cfg_scale" if embedded else _EMBEDDED
    given = f"{field} is not None" if embedded else f"{field}_provided"
    guiders = [f"self.{name_of(d)}" for d in of_kind(plan.decisions, SCALED)]
    lines = [f"{g}.guidance_scale = {field} if {given} else {g}.config.guidance_scale\n" for g in guiders]
    return list(parse("".join(lines))) if lines else []
