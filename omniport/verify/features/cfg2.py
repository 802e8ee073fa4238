"""``cfg2``: classifier-free guidance over two ranks gives what one rank gives, with half of the forwards on each."""

from __future__ import annotations

from omniport.verify.cases import BASE
from omniport.verify.halves import halved
from omniport.verify.lab import Lab
from omniport.verify.results import Check, Finding

PARALLEL = {"cfg_parallel_size": 2}


def run(lab: Lab) -> Finding:
    """Run the guided call on two ranks, compare with one rank and with the reference, and count the forwards."""
    if reason := lab.undispatched():
        return Finding(undeclared=reason)
    alone = lab.pipeline_alone()["readings"][BASE]
    ranks = [rank["readings"][BASE] for rank in lab.pipeline(PARALLEL, 2, (BASE,), False)]
    file = lab.pipeline_file(PARALLEL)
    errors = lab.compare_each([(file, lab.pipeline_file({})), (file, "images.reference.pt")])
    one, reference = (found[BASE] for found in errors)
    forwards = [r["all"] for r in ranks]
    shared = halved(forwards, alone["all"], alone["steps"])
    checks = (
        Check("against one rank", one <= lab.limit(), value=one, limit=lab.limit()),
        Check("against the reference", reference <= lab.limit(), value=reference, limit=lab.limit()),
        Check(
            "each rank runs half of the forwards",
            shared,
            "" if shared else f"{forwards}, one rank alone runs {alone['all']}",
        ),
    )
    evidence = (
        f"forwards per rank {forwards[0]} and {forwards[1]}, one rank alone {alone['all']}",
        f"against one rank {one:.1e}, against diffusers {reference:.1e}",
    )
    return Finding(checks, evidence)
