"""``ring2``: ring attention over two ranks gives what one rank gives; keys and values go round, tokens stay."""

from __future__ import annotations

from omniport.verify.cases import EVEN
from omniport.verify.features.sp2 import split_in_two
from omniport.verify.forks import RankError
from omniport.verify.lab import Lab
from omniport.verify.results import Finding

PARALLEL = {"ring_degree": 2}

#: what vLLM-Omni raises where attention is given a mask, or would need one for padding
REFUSALS = ("Ring attention does not support attn_mask", "Cannot use Ring attention which does not support")


def run(lab: Lab) -> Finding:
    """As for ``sp2``, with another exchange: each rank sends its keys and values on."""
    try:
        return split_in_two(lab, PARALLEL, ("send", "recv"), "keys and values go round")
    except RankError as error:
        if any(refusal in error.outcome.error for refusal in REFUSALS):
            return Finding(undeclared=f"vLLM-Omni's ring attention takes no mask, and {_why(lab)}")
        raise


def _why(lab: Lab) -> str:
    """For what the port's attention needs one: of its own, or only where a rank's tokens are padded."""
    if lab.transformer({})[0]["readings"][EVEN]["masks"]:
        return "attention of this port needs one"
    return "tokens of this run are padded, as two ranks do not share them evenly"
