"""``quant``: a quantisation method finds every linear of the blocks by its path.  What it makes of them is for GPUs."""

from __future__ import annotations

from omniport.verify.features._proofs import checks_of
from omniport.verify.lab import Lab
from omniport.verify.results import Finding


def run(lab: Lab) -> Finding:
    """See :mod:`omniport.verify.proofs.quant`."""
    proofs = lab.proof("quant")
    return Finding(tuple(checks_of(proofs, "every linear of the blocks is asked about")), (proofs[0].detail,))
