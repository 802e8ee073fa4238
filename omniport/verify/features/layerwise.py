"""``layerwise``: vLLM-Omni's layerwise offload streams the blocks, and the result stays."""

from __future__ import annotations

from omniport.verify.features._proofs import checks_of
from omniport.verify.lab import Lab
from omniport.verify.results import Finding


def run(lab: Lab) -> Finding:
    """See :mod:`omniport.verify.proofs.layerwise`."""
    if reason := lab.undeclared("layerwise offload"):
        return Finding(undeclared=reason)
    proofs = lab.proof("layerwise")
    return Finding(tuple(checks_of(proofs, "blocks are streamed")), (proofs[0].detail,))
