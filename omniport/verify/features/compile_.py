"""``compile``: regional compilation takes each block as one graph, and the result stays."""

from __future__ import annotations

from omniport.verify.features._proofs import checks_of
from omniport.verify.lab import Lab
from omniport.verify.results import Finding


def run(lab: Lab) -> Finding:
    """See :mod:`omniport.verify.proofs.compile`."""
    if reason := lab.undeclared("compile"):
        return Finding(undeclared=reason)
    proofs = lab.proof_in_parts("compile", 2)
    evidence = tuple(proof.detail for proof in proofs if proof.detail)
    return Finding(tuple(checks_of(proofs, "blocks compile without a graph break")), evidence)
