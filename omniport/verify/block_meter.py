"""Collectives of each call of a block, beside those that the layers of its plan imply.  Runs in a forked child.

A rank sums up each output of an attention or a feed-forward once, where a row-parallel layer ends it, and the
statistics of a norm across heads once for all tensors that one attention normalises.  Anything more is too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

ROWS = frozenset({"RowParallelLinear", "RowParallelConv2d", "ShardedExperts"})
NORMS = frozenset({"ShardedRMSNorm", "ShardedLayerNorm"})


@dataclass
class BlockCall:
    """One call of a block: its all-reduces and gathers; ``outputs``, ``norms`` and ``cut`` are those that its layers
    imply: row-parallel layers, attentions with norms across heads, and rows whose whole input each rank cuts."""

    reduces: int = 0
    gathers: int = 0
    outputs: int = 0
    norms: int = 0
    cut: int = 0

    @property
    def extra(self) -> int:
        """All-reduces that no layer implies."""
        return self.reduces - self.outputs - self.norms - self.cut


def surplus(calls: Iterable[BlockCall]) -> int:
    """The most all-reduces of a call of a block that no layer of it implies."""
    return max((call.extra for call in calls), default=0)


def too_much(calls: Iterable[BlockCall], token_gathers: int) -> list[str]:
    """What the ranks exchange beyond what tensor parallelism needs: one message each."""
    extra = surplus(calls)
    found = [f"a call of a block makes {extra} all-reduces that no layer implies"] if extra > 0 else []
    return found + ([f"{token_gathers} gathers of tensors that hold tokens"] if token_gathers else [])


class BlockMeter:
    """Hooks on blocks and on what they hold; ``counts`` is the running count of collectives by kind."""

    def __init__(self, counts: Counter[str]) -> None:
        self.calls: list[BlockCall] = []
        self._counts = counts
        self._open: BlockCall | None = None
        self._before: Counter[str] = Counter()

    def attach(self, blocks: list[nn.Module]) -> list[Callable[[], None]]:
        """Hook ``blocks``; returns what takes the hooks off again."""
        undo: list[Callable[[], None]] = []
        for block in blocks:
            undo.append(block.register_forward_pre_hook(self._enter).remove)
            undo.append(block.register_forward_hook(self._leave, always_call=True).remove)
            for module in block.modules():
                kinds = {kind.__name__ for kind in type(module).__mro__}
                if kinds & ROWS:
                    cut = getattr(module, "input_is_parallel", True) is False
                    undo.append(module.register_forward_pre_hook(self._count("cut" if cut else "outputs")).remove)
                elif any(type(child).__name__ in NORMS for child in module.children()):
                    undo.append(module.register_forward_pre_hook(self._count("norms")).remove)
        return undo

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self._open is None:
            self._open, self._before = BlockCall(), Counter(self._counts)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._open is not None:
            self._open.reduces = self._counts["all_reduce"] - self._before["all_reduce"]
            self._open.gathers = self._counts["all_gather"] - self._before["all_gather"]
            self.calls.append(self._open)
            self._open = None

    def _count(self, name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            if self._open is not None:
                setattr(self._open, name, getattr(self._open, name) + 1)

        return hook
