"""What tensor parallelism costs and saves in a port: the share of the blocks that a rank holds, and its collectives."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from omniport.verify.checkpoint import constructor_defaults
from omniport.verify.meter import Reading, block_parameters

#: Sizes of published checkpoints for classes whose constructor's own defaults build no model.
SIZES: dict[str, dict[str, Any]] = {}


def published_size(reference: Any) -> dict[str, Any]:
    """The constructor's defaults, completed where they alone do not say how large the model is."""
    return {**constructor_defaults(reference), **SIZES.get(reference.__name__, {})}


def block_share(build: Any, reference: Any, config: dict[str, Any]) -> float | None:
    """Block parameters that ``build`` makes on this rank over those of ``reference``, at the size of ``config`` on the
    meta device; None where the reference cannot be built so.

    ``build`` is called within the meta device; it makes the port from the same config.
    """
    taken = inspect.signature(reference.__init__).parameters
    with torch.device("meta"):
        try:
            whole = block_parameters(reference(**{k: v for k, v in config.items() if k in taken}))
        except Exception:  # the defaults do not fit together: nothing is known of the published size
            return None
        ported: nn.Module = build()
    return block_parameters(ported) / whole if whole else None


def per_block(reading: Reading) -> dict[str, float]:
    """Collectives of one forward for each call of a block, and the gathers of tensors that hold tokens."""
    calls = max(reading.block_calls, 1)
    reduces, gathers = (reading.collectives.get(kind, 0) for kind in ("all_reduce", "all_gather"))
    return {
        "reduces": round(reduces / calls, 2),
        "gathers": round(gathers / calls, 2),
        "token gathers": reading.token_gathers,
    }
