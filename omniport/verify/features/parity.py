"""``parity``: the port's transformer gives the reference's outputs, fp32, every parameter redrawn."""

from __future__ import annotations

from omniport.verify.lab import PARITY, Lab
from omniport.verify.results import Check, Finding


def run(lab: Lab) -> Finding:
    """Compare one forward per call of :data:`omniport.verify.preparing.CALLS` with the reference's."""
    facts = lab.prepare()
    lab.transformer({})
    errors = lab.compare(lab.transformer_file({}), "outputs.reference.pt")
    checks = tuple(Check(name, error <= PARITY, value=error, limit=PARITY) for name, error in errors.items())
    worst = max(errors.values())
    evidence = (
        f"{facts['tensors']} tensors, {facts['parameters']} parameters redrawn, {len(errors)} calls",
        f"largest relative error {worst:.1e}",
    )
    return Finding(checks, evidence, blocks=tuple(lab.block_errors({})))
