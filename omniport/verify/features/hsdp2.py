"""``hsdp2``: the parameters are sharded over two ranks, and the result stays."""

from __future__ import annotations

from omniport.verify.features._proofs import checks_of
from omniport.verify.lab import Lab
from omniport.verify.results import Finding

PARALLEL = {"use_hsdp": True, "hsdp_shard_size": 2}


def run(lab: Lab) -> Finding:
    """See :mod:`omniport.verify.proofs.hsdp`."""
    if reason := lab.undeclared("hsdp"):
        return Finding(undeclared=reason)
    proofs = lab.proof("hsdp", PARALLEL, 2)
    return Finding(tuple(checks_of(proofs, "each rank holds its share")), (proofs[0].detail,))
