"""``tp4``: four tensor-parallel ranks give what one gives, with no more collectives than two."""

from __future__ import annotations

from omniport.errors import OmniportError
from omniport.verify.cases import EVEN
from omniport.verify.features._tensor import exchange_checks, exchanged, layers_check
from omniport.verify.forks import RankError
from omniport.verify.lab import PARITY, Lab
from omniport.verify.results import Check, Finding

PARALLEL = {"tensor_parallel_size": 4}

SHARE = 0.45
"""Most that one of four ranks may hold of the tiny blocks' parameters: its norms and biases are no small part."""

LAYERS = 0.45
"""Most that it may hold of their layers: half of them whole on every rank would be 0.625."""

LESS = 0.9
"""Share of the blocks' parameters from which on a rank is said to hold all of them."""

NOT_SHARED = "tensor_parallel_size=4 does not divide"
"""What a port raises whose heads, or other sizes, four ranks cannot share."""


def run(lab: Lab) -> Finding:
    """Compare the transformer of four ranks with that of one, both wider where the tiny one has too few heads.

    Raises:
        OmniportError: the wider one has a size that four ranks cannot share, either: nothing is known of the port.
    """
    try:
        return _four(lab)
    except RankError as error:
        if NOT_SHARED not in error.outcome.error:
            raise
    try:
        return _four(lab.wide(), "a model wider than the tiny one, which has too few heads; ")
    except RankError as error:
        if NOT_SHARED not in error.outcome.error:
            raise
        said = " ".join(error.outcome.error.split())
        raise OmniportError(f"four ranks cannot share the tiny model: {said[:300]}") from error


def _four(lab: Lab, said: str = "") -> Finding:
    alone = lab.transformer({})[0]
    ranks = lab.transformer(PARALLEL, 4)
    file = lab.transformer_file(PARALLEL)
    errors, apart = lab.compare_each([(file, lab.transformer_file({})), (file, "outputs.reference.pt")])
    checks = [Check(f"transformer, {name}", e <= PARITY, value=e, limit=PARITY) for name, e in errors.items()]
    checks += [Check(f"reference, {name}", e <= PARITY, value=e, limit=PARITY) for name, e in apart.items()]
    checks += exchange_checks(ranks)
    whole = alone["readings"][EVEN]["block_parameters"]
    held = max(rank["readings"][EVEN]["block_parameters"] / whole for rank in ranks)
    note = f"{held:.3f} of the blocks"
    checks.append(Check("a rank holds less than the whole", held < LESS, note, held, LESS))
    checks.append(Check("a rank holds its share", held <= SHARE, note, held, SHARE, main=False))
    checks += layers_check(alone, ranks, LAYERS)
    evidence = (
        f"{said}one of 4 ranks holds {held:.3f} of the tiny blocks",
        f"per forward {exchanged(ranks[0])}",
        f"against one rank {max(errors.values()):.1e}",
    )
    return Finding(tuple(checks), evidence, blocks=tuple(lab.block_errors(PARALLEL)))
