"""``flash``: with FlashAttention, the default of GPUs, the port's transformer gives the reference's outputs."""

from __future__ import annotations

from omniport.verify.features._proofs import checks_of
from omniport.verify.lab import Lab
from omniport.verify.results import Finding


def run(lab: Lab) -> Finding:
    """See :mod:`omniport.verify.proofs.flash`."""
    proofs = lab.proof("flash")
    return Finding(tuple(checks_of(proofs, "FlashAttention takes every call")), (proofs[0].detail,))
