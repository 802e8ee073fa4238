"""``pp2``: two stages of a pipeline give what one rank gives, and each makes and runs its half of the blocks."""

from __future__ import annotations

from typing import Any

from omniport.verify.cases import BASE
from omniport.verify.features._proofs import checks_of
from omniport.verify.forks import Rank
from omniport.verify.lab import Lab
from omniport.verify.results import Check, Finding

PARALLEL = {"pipeline_parallel_size": 2}


def run(lab: Lab) -> Finding:
    """Compare two stages with one rank: the transformer's calls, and the pipeline's latents and what it decodes."""
    if reason := lab.undeclared("pipeline parallelism"):
        return Finding(undeclared=reason)
    lab.transformer({})
    expected = lab.transformer_file({})

    def task(rank: Rank) -> Any:
        from omniport.verify import proving

        return proving.stage(lab.port, lab.work, rank, PARALLEL, expected)

    proofs = lab.fork("stages", task, 2)
    checks = checks_of(proofs, "each stage holds and runs its share of the blocks")
    lab.pipeline_alone()
    lab.pipeline(PARALLEL, 2, (BASE,), True)
    errors = lab.compare(lab.pipeline_file(PARALLEL), lab.pipeline_file({}))
    for name, error in errors.items():
        checks.append(Check(f"pipeline, {name}", error <= lab.limit(), value=error, limit=lab.limit()))
    figures = [check.value for check in checks if check.value is not None]
    return Finding(tuple(checks), (proofs[0].detail, f"against one rank {max(figures):.1e}"))
