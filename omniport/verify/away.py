"""Components that model-level offload has moved away: on a machine with one device they must be away for real.

vLLM-Omni moves weights between GPU and CPU.  Here both are the CPU, so that a port that computes with weights that are
away would go unnoticed.  Instead they are no numbers while they are away, and their device is another: ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

ELSEWHERE = torch.device("meta")
"""The device of weights that are away: nothing can be computed there."""


class Away:
    """Moves modules away and back.

    ``faults``: the modules of a component that computed while it was away, in words, each once; they got their weights
    for it, so that the run goes on.
    """

    def __init__(self) -> None:
        self._modules: set[nn.Module] = set()
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # two modules may share a tensor
        self.faults: dict[str, None] = {}

    def __contains__(self, module: object) -> bool:
        return module in self._modules

    def take(self, module: nn.Module) -> None:
        """Put tensors that hold no numbers in place of all parameters and buffers."""
        self._modules.add(module)
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point() and id(tensor) not in self._kept:
                self._kept[id(tensor)] = (tensor, tensor.data)
                tensor.data = torch.full((), float("nan"), dtype=tensor.dtype).expand(tensor.shape)

    def bring(self, module: nn.Module) -> None:
        """Put the numbers back."""
        self._modules.discard(module)
        for part in (*module.parameters(), *module.buffers()):
            tensor, data = self._kept.pop(id(part), (part, part.data))
            tensor.data = data

    def watch(self, component: nn.Module, name: str) -> None:
        """Look at what ``component`` is given, and note the modules inside it that are called while it is away."""
        component.register_forward_pre_hook(_checking(name), with_kwargs=True)
        for path, part in component.named_modules():
            if part is not component and (part._parameters or part._buffers):
                part.register_forward_pre_hook(self._noting(component, f"{name}.{path}"))

    def _noting(self, component: nn.Module, path: str) -> Any:
        def note(module: nn.Module, args: Any) -> None:
            if component in self:
                self.faults[f"{path} runs while its component is away"] = None
                self.bring(component)

        return note


def _checking(name: str) -> Any:
    def check(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if any(isinstance(value, torch.Tensor) and value.device == ELSEWHERE for value in (*args, *kwargs.values())):
            raise RuntimeError(f"{name} is given a tensor on the device where its weights were while they were away")

    return check


def _device(away: Away, inner: property) -> property:
    return property(lambda module: ELSEWHERE if module in away else inner.__get__(module))


@contextmanager
def offloaded(pipeline: nn.Module, backend: Any) -> Iterator[Away]:
    """Run a pipeline in whose worker model-level offload is on, as a request that is not the first finds it.

    All components that are swapped are away at first: an encoder is so once the denoiser has run.
    """
    from vllm_omni.diffusion.offloader.sequential_backend import SequentialOffloadHook

    away = Away()
    swapped: list[nn.Module] = list(getattr(backend, "_offload_modules", ()))
    names = {module: name for name, module in reversed(list(pipeline.named_modules()))}
    with ExitStack() as stack:
        for cls in {type(module) for module in swapped}:
            if isinstance(inner := getattr(cls, "device", None), property):
                stack.enter_context(patch.object(cls, "device", _device(away, inner)))
        moves: dict[str, Any] = {
            "_to_cpu": lambda _, module: away.take(module),
            "_to_gpu": lambda _, module: away.bring(module),
        }
        stack.enter_context(patch.multiple(SequentialOffloadHook, **moves))
        for module in swapped:
            away.watch(module, names.get(module, type(module).__name__))
            away.take(module)
            stack.callback(away.bring, module)
        yield away
