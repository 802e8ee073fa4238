"""Working stand-ins for single functions of packages that are not installed and that a reference cannot do without.

The stubs of :mod:`omniport.verify.cpu.stubs` can be imported but not used.  Cosmos resizes its padding mask with
torchvision, whose builds for other hardware do not load on a CPU build of torch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

USERS = (
    "diffusers.models.controlnets.controlnet_cosmos",
    "diffusers.models.transformers.transformer_cosmos",
    "diffusers.pipelines.omnigen.processor_omnigen",
)
"""Reference modules that import torchvision's transforms only if torchvision is there."""


IMPORTERS = {
    "diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict": {"torchvision": "torchvision"},
    "diffusers.pipelines.omnigen.pipeline_omnigen": {
        "OmniGenMultiModalProcessor": "diffusers.pipelines.omnigen.processor_omnigen.OmniGenMultiModalProcessor"
    },
}
"""Reference module -> the names that it imports only if torchvision is there, and what they are."""


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


def to_tensor(picture: Any) -> Any:
    """``torchvision.transforms.functional.to_tensor`` of a PIL picture: [channels, rows, columns] from 0 to 1."""
    import numpy
    import torch

    values = numpy.array(picture)
    return torch.from_numpy(values[:, :, None] if values.ndim == 2 else values).permute(2, 0, 1).contiguous() / 255


class Normalize:
    """``torchvision.transforms.Normalize``: tensors [channels, rows, columns] less ``mean``, by ``std``."""

    def __init__(self, mean: list[float], std: list[float], inplace: bool = False) -> None:
        self.mean, self.std = mean, std

    def __call__(self, image: Any) -> Any:
        mean, std = (image.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (image - mean) / std


class Compose:
    """``torchvision.transforms.Compose``: one after the other."""

    def __init__(self, parts: list[Callable[[Any], Any]]) -> None:
        self.parts = parts

    def __call__(self, image: Any) -> Any:
        return functools.reduce(lambda value, part: part(value), self.parts, image)


def install() -> bool:
    """Give the reference and its port the same stand-in; whether one was needed (torchvision itself is not there)."""
    import torchvision
    from diffusers.utils import import_utils

    from omniport.verify.cpu.stubs import StubModule

    if not isinstance(torchvision, StubModule):
        return False
    functional = _module("torchvision.transforms.functional", resize=resize, to_tensor=to_tensor)
    transforms = _module(
        "torchvision.transforms",
        functional=functional,
        InterpolationMode=SimpleNamespace(NEAREST="nearest"),
        Compose=Compose,
        Lambda=lambda function: function,
        Normalize=Normalize,
        ToTensor=lambda: to_tensor,
    )
    for module in (torchvision, *map(importlib.import_module, USERS)):
        vars(module)["transforms"] = transforms
    for name, values in IMPORTERS.items():
        module = importlib.import_module(name)
        for key, path in values.items():
            holder, _, member = path.rpartition(".")
            found = importlib.import_module(holder or path)
            vars(module)[key] = getattr(found, member) if holder else found
    vars(import_utils)["_torchvision_available"] = True  # for the ports, which are imported from now on
    return True


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


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
