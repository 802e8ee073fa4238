"""``hsdp2``: each rank holds its share of the parameters, gathers it block by block, and the result stays."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor

from omniport.verify import engine
from omniport.verify.inputs import plainly
from omniport.verify.meter import Meter
from omniport.verify.proofs import Proof, Subject, distance, unequal
from omniport.verify.tasks import flatten_output

SHARE = 0.6
"""Most that one of two ranks may hold: half, and parameters that cannot be cut."""


def prove(subject: Subject) -> Proof:
    """Shard a loaded transformer over the ranks of ``subject.config`` and run every call before and after."""
    model = subject.build()
    whole = sum(p.numel() for p in model.parameters())
    problems: list[str] = []
    worst = 0.0
    with torch.no_grad():  # as vLLM-Omni runs such a model: FSDP knows no inference mode
        expected = {n: flatten_output(model(**inputs, **plainly(model))) for n, inputs in subject.calls.items()}
        engine.apply_hsdp(model, subject.config)
        held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in model.parameters())
        gathers = 0
        for name, inputs in subject.calls.items():
            with Meter(model) as meter:
                error = distance(flatten_output(model(**inputs, **plainly(model))), expected[name])
            gathers = meter.reading.collectives.get("all_gather", 0)
            worst = max(worst, error)
            problems += unequal(name, error)
    if held > SHARE * whole:
        problems.append(f"this rank holds {held} of {whole} parameters")
    if not gathers:
        problems.append("no parameters were gathered")
    return Proof(worst, tuple(problems), f"a rank holds {held} of {whole} parameters, {gathers} all_gather a forward")
