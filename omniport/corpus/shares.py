"""What tensor parallelism costs and saves in a port: the share of the blocks that a rank holds, and its collectives."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.corpus.hand_written import hand_written
from omniport.verify.checkpoint import constructor_defaults
from omniport.verify.meter import Reading, block_parameters
from omniport.verify.port import Port
from omniport.verify.published_sizes import SIZES


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
    """Collectives of one forward: the fewest and the most of a call of a block, those outside of blocks, and how many
    no layer of the blocks implies; gathers of tensors that hold tokens."""
    calls = [call for call in reading.block_collectives if call.outputs or call.reduces or call.gathers]
    reduces = [call.reduces for call in calls] or [0]
    outside = reading.collectives.get("all_reduce", 0) - sum(call.reduces for call in calls)
    return {
        "reduces least": min(reduces),
        "reduces": max(reduces),
        "norms": max((call.norms for call in calls), default=0),
        "cut": max((call.cut for call in calls), default=0),
        "gathers": max((call.gathers for call in calls), default=0),
        "outside": outside,
        "token gathers": reading.token_gathers,
    }


def published_share(config: Any, reference: Any, cls: Any) -> float | None:
    """Share of the block parameters that this rank holds at published size in a port's class ``cls``."""
    from vllm_omni.diffusion.utils.tf_utils import get_transformer_config_kwargs

    published = published_size(reference)

    def build() -> nn.Module:
        config.tf_model_config.params.clear()
        config.tf_model_config.params.update(published)
        kwargs = get_transformer_config_kwargs(config.tf_model_config, cls)
        taken = inspect.signature(cls.__init__).parameters
        extra = {"od_config": config, "quant_config": config.quantization_config}
        model: nn.Module = cls(**{k: v for k, v in extra.items() if k in taken}, **kwargs)
        return model

    return block_share(build, reference, published)


def hand_share(port: Port, config: Any, reference: Any, root: Path) -> float | None:
    """The same of the hand-written port; None if there is none, or if it is not made from the reference's config."""
    module = hand_written(root, port.name)
    if module is None:
        return None
    try:
        return published_share(config, reference, getattr(importlib.import_module(module), port.name))
    except Exception:  # it takes another config than the reference: nothing is known of its share
        return None
