"""Working stand-ins for single functions of packages that are not installed and that a reference cannot do without.

The stubs of :mod:`omniport.verify.cpu.stubs` can be imported but not used.  Cosmos resizes its padding mask with
torchvision, whose builds for other hardware do not load on a CPU build of torch.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

USERS = ("diffusers.models.transformers.transformer_cosmos",)
"""Reference modules that import torchvision's transforms only if torchvision is there."""


def resize(image: Any, size: list[int], interpolation: str) -> Any:
    """``torchvision.transforms.functional.resize`` of a tensor [..., rows, columns] to the nearest pixel.

    Raises:
        NotImplementedError: another interpolation is asked for.
    """
    import torch

    if interpolation != "nearest":
        raise NotImplementedError(
            f"the stand-in for torchvision resizes to the nearest pixel only, not {interpolation}"
        )
    return torch.nn.functional.interpolate(image, size=size, mode="nearest")


def install() -> bool:
    """Give the reference and its port the same stand-in; whether one was needed (torchvision itself is not there)."""
    import torchvision

    from omniport.verify.cpu.stubs import StubModule

    if not isinstance(torchvision, StubModule):
        return False
    transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=resize), InterpolationMode=SimpleNamespace(NEAREST="nearest")
    )
    for module in (torchvision, *map(importlib.import_module, USERS)):
        vars(module)["transforms"] = transforms
    return True
