"""What a reference needs to run at all in fp32 on a tiny checkpoint, done to it and to its port alike, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def _tiling(pipeline: Any) -> None:
    """The autoencoder decodes in tiles only; published pipelines switch that on by hand."""
    pipeline.vae.enable_tiling()


def _half(pipeline: Any) -> None:
    """The reference casts a picture to bfloat16 whatever the autoencoder's dtype is."""
    import torch

    pipeline.vae.to(torch.bfloat16)


REPAIRS: dict[str, Callable[[Any], None]] = {"vae tiling": _tiling, "vae in bfloat16": _half}


IN_WORKER = frozenset({"vae in bfloat16"})
"""Repairs that reach into vLLM-Omni's worker, which its public interface does not give."""


def repair(names: Iterable[str], pipeline: Any) -> None:
    """Apply the named repairs to a pipeline, the reference's or the port's."""
    for name in names:
        REPAIRS[name](pipeline)
