"""``load``: every checkpoint tensor is consumed once, every parameter filled once, and anything else is refused."""

from __future__ import annotations

from omniport.verify.forks import Rank
from omniport.verify.lab import Lab
from omniport.verify.results import Check, Finding

SHOWN = 4  # names in a message; the counts say how many there are


def run(lab: Lab) -> Finding:
    """Load a marked checkpoint, then every checkpoint that lacks one tensor, and some with one too many."""
    lab.prepare()

    def task(rank: Rank) -> object:
        from omniport.verify import probes

        return probes.load_port(lab.port, lab.work, rank)

    found = lab.fork("load", task)[0]
    checks = [
        _names("every parameter is filled", found["unfilled"], "never filled"),
        _names("every checkpoint tensor is consumed", found["unconsumed"], "not consumed"),
        _names("no checkpoint tensor is used twice", found["overfilled"], "used twice"),
        _names("an incomplete or foreign checkpoint is refused", found["accepted"], "accepted", main=False),
    ]
    refused = found["probes"] - len(found["accepted"])
    evidence = (
        f"{found['tensors']} tensors fill {found['parameters']} parameters, {found['fused']} of them fused",
        f"{refused} of {found['probes']} wrong checkpoints refused, {found['by_port']} by load_weights itself",
    )
    return Finding(tuple(checks), evidence)


def _names(name: str, names: list[str], what: str, main: bool = True) -> Check:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return Check(name, not names, f"{what}: {', '.join(names[:SHOWN])}{more}" if names else "", main=main)
