"""What a rank holds of the layers that tensor parallelism shares: their matrices, without norms, biases and tables.

At published size norms and biases are next to nothing; of a tiny model they are so much that a port with half of its
layers left whole looks like one with all of them sharded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from omniport.verify.meter import block_lists


def planned_whole(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """``Class.path`` of the linears that a port's plan leaves whole on every rank; it has a reason for each."""
    linears: Sequence[Mapping[str, Any]] = plan.get("transformer", {}).get("linears", ())
    return tuple(entry["path"] for entry in linears if entry["role"] == "replicated")


def layer_weights(transformer: nn.Module, whole: Sequence[str]) -> int:
    """Elements that this rank holds of the matrices of linears and convolutions in the block lists.

    Args:
        transformer: of the port.
        whole: what is not counted, see :func:`planned_whole`; ``*`` stands for a place in a list.
    """
    patterns: dict[str, list[re.Pattern[str]]] = {}
    for path in whole:
        owner, _, inner = path.partition(".")
        text = re.escape(inner).replace(r"\*", "[0-9]+")
        patterns.setdefault(owner, []).append(re.compile(rf"{text}\..*"))
    left_out = {
        id(parameter)
        for module in transformer.modules()
        for name, parameter in module.named_parameters()
        if any(pattern.fullmatch(name) for pattern in patterns.get(type(module).__name__, ()))
    }
    tables = (nn.Embedding,)
    matrices = {
        id(parameter): parameter.numel()
        for block in block_lists(transformer)
        for module in getattr(transformer, block).modules()
        if not isinstance(module, tables)
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("weight") and parameter.ndim > 1 and id(parameter) not in left_out
    }
    return sum(matrices.values())
