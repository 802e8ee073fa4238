"""``tp4``: four tensor-parallel ranks give what one gives, with no more collectives than two."""

from __future__ import annotations

from omniport.errors import OmniportError
from omniport.verify.cases import EVEN
from omniport.verify.features._tensor import exchange_checks, exchanged
from omniport.verify.forks import RankError
from omniport.verify.lab import PARITY, Lab
from omniport.verify.results import Check, Finding

PARALLEL = {"tensor_parallel_size": 4}

SHARE = 0.45
"""Most that one of four ranks may hold of the tiny blocks' parameters: its norms and biases are no small part."""


def run(lab: Lab) -> Finding:
    """Compare the transformer of four ranks with that of one.

    Raises:
        OmniportError: the tiny model has a size that four ranks cannot share, which says nothing about the port.
    """
    alone = lab.transformer({})[0]
    try:
        ranks = lab.transformer(PARALLEL, 4)
    except RankError as error:
        said = " ".join(error.outcome.error.split())
        if "tensor_parallel_size=4 does not divide" not in said:
            raise
        raise OmniportError(f"four ranks cannot share the tiny model: {said[:300]}") from error
    errors = lab.compare(lab.transformer_file(PARALLEL), lab.transformer_file({}))
    checks = [Check(f"transformer, {name}", e <= PARITY, value=e, limit=PARITY) for name, e in errors.items()]
    checks += exchange_checks(ranks)
    whole = alone["readings"][EVEN]["block_parameters"]
    held = max(rank["readings"][EVEN]["block_parameters"] / whole for rank in ranks)
    checks.append(Check("a rank holds its share", held <= SHARE, f"{held:.3f} of the blocks", held, SHARE))
    evidence = (
        f"one of 4 ranks holds {held:.3f} of the tiny blocks",
        f"per forward {exchanged(ranks[0])}",
        f"against one rank {max(errors.values()):.1e}",
    )
    return Finding(tuple(checks), evidence, blocks=tuple(lab.block_errors(PARALLEL)))
