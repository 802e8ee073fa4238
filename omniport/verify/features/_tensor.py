"""What the ranks of tensor parallelism exchange, for ``tp2`` and ``tp4``."""

from __future__ import annotations

from typing import Any

from omniport.verify.block_meter import BlockCall, too_much
from omniport.verify.cases import EVEN
from omniport.verify.results import Check

_KINDS = ("all_reduce", "all_gather", "reduce_scatter")


def exchange_checks(ranks: list[dict[str, Any]]) -> list[Check]:
    """The ranks exchange results, and no more than the layers imply, as :meth:`Lab.transformer` says of ``ranks``."""
    moved = min(sum(_counts(rank).get(kind, 0) for kind in _KINDS) for rank in ranks)
    faults = {fault: None for rank in ranks for reading in rank["readings"].values() for fault in _faults(reading)}
    return [
        Check("the ranks exchange results", moved > 0, "" if moved else "no collective was seen"),
        Check("no collective is too much", not faults, "; ".join(faults), main=False),
    ]


def layers_check(alone: dict[str, Any], ranks: list[dict[str, Any]], limit: float) -> list[Check]:
    """Each rank holds its share of the layers that the plan does not leave whole; none where blocks have no layers."""
    if not alone["layers"]:
        return []
    held = max(rank["layers"] / alone["layers"] for rank in ranks)
    note = "" if held <= limit else f"one rank holds {held:.3f} of the layers: some are whole on every rank"
    return [Check("the layers of the blocks are shared", held <= limit, note, held, limit)]


def exchanged(rank: dict[str, Any]) -> str:
    """The collectives of a forward, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(_counts(rank).items())) or "no collective"


def _counts(rank: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = rank["readings"][EVEN]["collectives"]
    return counts


def _faults(reading: dict[str, Any]) -> list[str]:
    return too_much([BlockCall(**call) for call in reading["block_collectives"]], reading["token_gathers"])
