"""Feed-forwards of convolutions: a pointwise one widens, a depthwise one mixes places, a pointwise one sums up.

The first is a column over its output channels, the second keeps the channels of a rank, the third is a row: one
all-reduce.  A convolution between two whole tensors beside them is a row, too, of whose input each rank takes its run.
"""

from __future__ import annotations

from typing import Any

from omniport.analyse.facts import ConvFact, Demand
from omniport.analyse.layers import LayerOps
from omniport.analyse.products import ProductOps
from omniport.analyse.shapes import Dim, Key, Leaf, Num, Part, Tensor
from omniport.plan.model import ConvRole


class ConvOps(ProductOps, LayerOps):
    """The rules."""

    def conv(self, leaf: Leaf, x: Any) -> Tensor | None:
        """The result of a convolution that the ranks share; None if it stays whole, as far as these rules go."""
        key, channels = leaf.key, leaf.argument(1, "out_channels")
        taken = leaf.argument(0, "in_channels")
        repeated = leaf.owner is not None and "*" in leaf.owner.dotted.split(".")
        if not isinstance(x, Tensor) or not isinstance(channels, Num) or not isinstance(taken, Num) or not repeated:
            return None
        if key[0] in self.imported or key not in self.placed or key in self.decisions.whole:
            return None
        x = self.of_rank(x, 4)
        if len(x.dims or ()) != 4:
            return None
        self.demand((d for at, d in enumerate(x.known) if at != 1), "a convolution takes whole places")
        self.barrier(x.streams, f"{leaf.cls} ({leaf.path}) is not known to act token by token")
        dim, groups = x.known[1], leaf.argument(6, "groups")
        places = tuple(Dim(d.size) if _pointwise(leaf) else Dim(self.place(at)) for at, d in enumerate(x.known[2:]))
        if groups is not None:
            if not dim.parts or groups != channels or groups != taken:
                return None
            self.note(key, "depthwise", leaf.line, len(dim.parts), x)
            return Tensor((x.known[0], dim, *places))
        if dim.parts:
            if len(dim.parts) > 1:
                self.demand((dim,), "a convolution sums up packed channels")
            self.note(key, "row", leaf.line, 1, x)
            return Tensor((x.known[0], Dim(channels.poly), *places))
        if not _pointwise(leaf):
            if not any(cls == key[0] and fact.role == "column" for (cls, _), fact in self.facts.convs.items()):
                return None
            self.note(key, "scattered", leaf.line, 1, x)
            return Tensor((x.known[0], Dim(channels.poly), *places))
        parts = self.decisions.parts.get(key, (channels.poly,))
        self.note(key, "column", leaf.line, len(parts), x)
        out = Dim(channels.poly, tuple(Part(size, frozenset({key})) for size in parts))
        return Tensor((x.known[0], out, *places))

    def place(self, at: int) -> Any:
        """The size of a dimension of places that a convolution computes."""
        return (self.sizeless(at + 1).dims or ())[at].size

    def note(self, key: Key, role: ConvRole, line: int, parts: int, x: Tensor) -> None:
        before = self.facts.convs.setdefault(key, ConvFact(role, line, parts, x.sources))
        if (before.role, before.parts) != (role, parts):
            raise Demand(before.sources | x.sources, f"{key[1]} is also called on an input of another kind", self.line)


def _pointwise(leaf: Leaf) -> bool:
    """Whether a convolution acts place by place."""
    numbers = [leaf.argument(at, name) for at, name in ((2, "kernel_size"), (3, "stride"), (4, "padding"))]
    values = [n.poly.constant if isinstance(n, Num) else n for n in numbers]
    return values[0] == 1 and values[1] in (1, None) and values[2] in (0, None)
