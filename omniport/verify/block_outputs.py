"""What every repeated block gives back, of the reference and of the port, and how far the two are apart.

The blocks of a port keep the names of the reference's, so that each is compared with its namesake: the plot of these
errors shows where a wrong port begins to be wrong.  Runs in a forked child.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.verify.engine import relative_error
from omniport.verify.meter import block_lists
from omniport.verify.results import BlockError

#: call -> block ("transformer_blocks.0") -> its tensors, in the order it gave them back
Outputs = dict[str, dict[str, list[torch.Tensor]]]


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Record what each block of ``model`` gives back, by its name and in the order of the calls."""
    found: dict[str, list[torch.Tensor]] = {}
    handles = []
    for attribute in block_lists(model):
        for index, block in enumerate(getattr(model, attribute)):

            def keep(module: nn.Module, args: Any, output: Any, name: str = f"{attribute}.{index}") -> None:
                found.setdefault(name, []).extend(t.detach().clone() for t in tensors_of(output))

            handles.append(block.register_forward_hook(keep))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def tensors_of(output: Any) -> list[torch.Tensor]:
    """Every tensor of a block's output, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return [t for item in output for t in tensors_of(item)] if isinstance(output, (list, tuple)) else []


def errors(got: Path, expected: Path) -> list[BlockError]:
    """One row for each block of the reference that ran, in the order of its calls.

    A block without a namesake, or whose tensors have other shapes, has no error: nothing says how it compares.
    """
    left: Outputs = torch.load(got)
    right: Outputs = torch.load(expected)
    rows = []
    for call, blocks in right.items():
        for name, tensors in blocks.items():
            own = left.get(call, {}).get(name, [])
            same = [t.shape for t in own] == [t.shape for t in tensors]
            pairs = zip(own, tensors, strict=True) if same else ()
            worst = max((relative_error(a, b) for a, b in pairs), default=None)
            rows.append(BlockError(call, name, worst))
    return rows
