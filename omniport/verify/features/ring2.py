"""``ring2``: ring attention over two ranks gives what one rank gives; keys and values go round, tokens stay."""

from __future__ import annotations

from omniport.verify.cases import BASE, EVEN
from omniport.verify.features.sp2 import split_in_two
from omniport.verify.forks import RankError
from omniport.verify.lab import Lab
from omniport.verify.results import Finding

PARALLEL = {"ring_degree": 2}

#: what vLLM-Omni raises where attention is given a mask, or would need one for padding
REFUSALS = ("Ring attention does not support attn_mask", "Cannot use Ring attention which does not support")

NO_MASK = "vLLM-Omni's ring attention takes no mask"
UNEVEN = "tokens of this run are padded, as two ranks do not share them evenly"


def run(lab: Lab) -> Finding:
    """As for ``sp2``, with another exchange: each rank sends its keys and values on.

    A port that needs a mask only where ranks do not share tokens evenly is proven with lengths that they do share.
    """

    def padded(error: RankError) -> str:
        own = lab.pipeline_alone()["readings"][BASE]["masks"]
        return "" if own or not _takes_no_mask(error) else f"{NO_MASK}, and {UNEVEN}"

    try:
        return split_in_two(lab, PARALLEL, ("send", "recv"), "keys and values go round", padded)
    except RankError as error:
        if _takes_no_mask(error):
            return Finding(undeclared=f"{NO_MASK}, and {_why(lab)}")
        raise


def _takes_no_mask(error: RankError) -> bool:
    return any(refusal in error.outcome.error for refusal in REFUSALS)


def _why(lab: Lab) -> str:
    """For what the port's attention needs one: of its own, or only where a rank's tokens are padded."""
    alone = [lab.transformer({})[0]["readings"][EVEN], lab.pipeline_alone()["readings"][BASE]]
    return "attention of this port needs one" if any(reading["masks"] for reading in alone) else UNEVEN
