"""Working stand-ins for single functions of packages that are not installed and that a reference cannot do without.

The stubs of :mod:`omniport.verify.cpu.stubs` can be imported but not used.  Cosmos resizes its padding mask with
torchvision, whose builds for other hardware do not load on a CPU build of torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
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


class Unguarded:
    """In place of Cosmos' guardrail, a gated package of its own models: lets every text and every video pass."""

    def to(self, device: Any) -> Unguarded:
        return self

    def check_text_safety(self, text: str) -> bool:
        return True

    def check_video_safety(self, frames: Any) -> Any:
        return frames


def guardrail() -> None:
    """A guardrail for the Cosmos pipelines and their ports, where its package is missing; before they are imported."""
    name = "cosmos_guardrail"
    if importlib.util.find_spec(name) is not None:
        return
    from diffusers.utils import import_utils

    module = ModuleType(name)
    vars(module)["CosmosSafetyChecker"] = Unguarded
    sys.modules[name] = module
    vars(import_utils)["_cosmos_guardrail_available"] = True


def ftfy() -> None:
    """A package that mends texts, where it is missing: one reference calls it without asking whether it is there."""
    if importlib.util.find_spec("ftfy") is not None:
        return
    from diffusers.utils import import_utils

    module = ModuleType("ftfy")
    vars(module)["fix_text"] = str
    sys.modules["ftfy"] = module
    vars(import_utils)["_ftfy_available"] = True


def processors() -> None:
    """Let transformers' processors of text and images work without torchvision, which they need for videos only.

    A processor that may take videos has a part for them; here it has none, and none is given a video.
    """
    import torchvision

    from omniport.verify.cpu.stubs import StubModule

    if not isinstance(torchvision, StubModule):
        return
    import transformers
    from transformers.processing_utils import ProcessorMixin

    parts = ProcessorMixin.get_attributes.__func__  # type: ignore[attr-defined]
    without = classmethod(lambda cls: [name for name in parts(cls) if name != "video_processor"])
    ProcessorMixin.get_attributes = without  # type: ignore[assignment,method-assign]
    for module, name, path in PIL_ONLY:
        vars(transformers)[name] = getattr(importlib.import_module(f"transformers.models.{module}"), path)


PIL_ONLY = (
    ("pixtral.processing_pixtral", "PixtralProcessor", "PixtralProcessor"),
    ("siglip2.image_processing_pil_siglip2", "Siglip2ImageProcessorFast", "Siglip2ImageProcessorPil"),
)
"""Classes that transformers hides without torchvision although they, or their namesakes, work on PIL images."""
