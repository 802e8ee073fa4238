"""``tp2``: two tensor-parallel ranks give what one gives, and each holds about half of the blocks."""

from __future__ import annotations

from typing import Any

from omniport.verify.cases import BASE, EVEN
from omniport.verify.features._tensor import exchange_checks, exchanged, layers_check
from omniport.verify.lab import PARITY, Lab
from omniport.verify.results import Check, Finding

SHARE = 0.52
"""Most that one of two ranks may hold of the blocks' parameters at published size: half, and norms and biases."""

LAYERS = 0.65
"""Most that one of two ranks may hold of the layers of the tiny blocks: half of them whole on each would be 0.75."""

PARALLEL = {"tensor_parallel_size": 2}


def run(lab: Lab) -> Finding:
    """Compare two ranks with one: transformer, whole pipeline, parameters at tiny and at published size."""
    alone = lab.transformer({})[0]
    ranks = lab.transformer(PARALLEL, 2, published=True)
    lab.pipeline_alone()
    lab.pipeline(PARALLEL, 2, (BASE,), False)
    errors, error = lab.against_one_rank(PARALLEL)
    checks = [Check(f"transformer, {name}", e <= PARITY, value=e, limit=PARITY) for name, e in errors.items()]
    checks.append(Check(f"pipeline, {BASE}", error <= lab.limit(), value=error, limit=lab.limit()))

    checks += exchange_checks(ranks)
    whole = alone["readings"][EVEN]["block_parameters"]
    held = [rank["readings"][EVEN]["block_parameters"] / whole for rank in ranks]
    checks.append(
        Check("a rank holds less than the whole", max(held) < 0.9, f"{max(held):.3f} of the blocks", max(held), 0.9)
    )
    checks += layers_check(alone, ranks, LAYERS)
    share, said = published_share([rank["published"] for rank in ranks])
    if share is not None:
        fault = f"one rank holds {share:.3f} of the blocks at published size: something is replicated"
        note = "" if share <= SHARE else fault
        checks.append(
            Check("parameters of the blocks at published size", share <= SHARE, note, share, SHARE, main=False)
        )
    evidence = (
        f"{said}, {max(held):.3f} of the tiny ones",
        f"per forward {exchanged(ranks[0])}",
        f"against one rank {max([*errors.values(), error]):.1e}",
    )
    return Finding(tuple(checks), evidence, blocks=tuple(lab.block_errors(PARALLEL)))


def published_share(counts: list[dict[str, Any]]) -> tuple[float | None, str]:
    """The largest share of the blocks that a rank holds at published size, and in words; None where that is not known.

    Args:
        counts: by rank what :func:`omniport.verify.tasks.published_share` returned.
    """
    unknown = next((str(count["unknown"]) for count in counts if "unknown" in count), "")
    if unknown:
        return None, f"the reference cannot be built at published size ({unknown}); one of 2 ranks holds"
    whole = counts[0]["full"]
    share: float = max(count["local"] for count in counts) / whole
    return share, f"one of 2 ranks holds {share:.4f} of the {whole / 1e9:.2f}e9 block parameters at published size"
