"""``cfg2``: classifier-free guidance over two ranks gives what one rank gives, with half of the forwards on each."""

from __future__ import annotations

from omniport.verify.lab import PIPELINE, Lab
from omniport.verify.results import Check, Finding

PARALLEL = {"cfg_parallel_size": 2}
CASE = "negative prompt"


def run(lab: Lab) -> Finding:
    """Run the guided case on two ranks, compare with one rank and with the reference, and count the forwards."""
    if CASE not in lab.reference():
        return Finding((Check("guidance", False, "the reference's pipeline takes no negative prompt"),))
    alone = lab.pipeline_alone()["readings"][CASE]
    ranks = [rank["readings"][CASE] for rank in lab.pipeline(PARALLEL, 2, (CASE,), False)]
    file = lab.pipeline_file(PARALLEL)
    one = lab.compare(file, lab.pipeline_file({}))[CASE]
    reference = lab.compare(file, "images.reference.pt")[CASE]
    forwards = [r["forwards"] for r in ranks]
    halved = max(forwards) * 2 == alone["forwards"] and min(forwards) == max(forwards)
    checks = (
        Check("against one rank", one <= PIPELINE, value=one, limit=PIPELINE),
        Check("against the reference", reference <= PIPELINE, value=reference, limit=PIPELINE),
        Check(
            "each rank runs half of the forwards",
            halved,
            "" if halved else f"{forwards}, one rank alone runs {alone['forwards']}",
        ),
    )
    evidence = (
        f"forwards per rank {forwards[0]} and {forwards[1]}, one rank alone {alone['forwards']}",
        f"against one rank {one:.1e}, against diffusers {reference:.1e}",
    )
    return Finding(checks, evidence)
