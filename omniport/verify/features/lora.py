"""``lora``: vLLM-Omni's LoRA manager finds every linear of the blocks, and adapts it as merging would."""

from __future__ import annotations

from omniport.verify.features._proofs import checks_of
from omniport.verify.lab import Lab
from omniport.verify.results import Finding


def run(lab: Lab) -> Finding:
    """See :mod:`omniport.verify.proofs.lora`."""
    proofs = lab.proof("lora")
    return Finding(tuple(checks_of(proofs, "adapters act on every linear of the blocks")), (proofs[0].detail,))
