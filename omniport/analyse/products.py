"""Transfer rules of operations that repeat, multiply and pad whole dimensions."""

from __future__ import annotations

from typing import Any

from omniport.analyse.axes import AxisOps
from omniport.analyse.poly import ONE, PER_RANK, RANKS, Poly
from omniport.analyse.shapes import Dim, Num, Tensor, scaled


class ProductOps(AxisOps):
    """The rules."""

    def repeated(self, x: Tensor, at: int, count: Poly) -> Tensor:
        """Each entry of a dimension ``count`` times: heads of keys for the heads of queries."""
        if count == ONE:
            return x
        dim = x.known[at]
        if RANKS in count.atoms:
            self.demand((dim,), "is repeated by what a rank holds")
            self.demand_local("repeats by the heads of a rank")
        self.barrier(dim.streams, "repeats the tokens")
        larger = scaled(dim, count) or Dim(dim.size * count)
        if dim.parts and len(larger.parts) != len(dim.parts):
            self.demand((dim,), "is repeated")
        return x.with_dim(at, larger)

    def expanded_to_heads(self, x: Tensor, sizes: list[Any]) -> Tensor | None:
        """``mask.expand(-1, heads, -1, -1)`` for the heads of a rank: one entry for all of them.

        An entry for each head would not fit the heads of a rank: the run would end there.
        """
        grown = [at for at, size in enumerate(sizes) if isinstance(size, Num) and RANKS in size.poly.atoms]
        if len(grown) != 1 or x.sources or sizes[grown[0]].poly.quotient(PER_RANK) not in self.facts.heads:
            return None
        dims = list(self.of_rank(x, len(sizes)).known if x.dims is None else x.known)
        for at, size in enumerate(sizes):
            if at == grown[0] or size != Num(Poly.of(-1)):
                known = isinstance(size, Num) and at != grown[0]
                dims[at] = Dim(size.poly if known else ONE if at == grown[0] else Poly.of(f"size {at} of a mask"))
        return Tensor(tuple(dims))

    def matmul(self, a: Any, b: Any) -> Tensor:
        """``[..., n, k] @ [..., k, m]``: batches meet, what is summed over is whole."""
        ready = isinstance(a, Tensor) and isinstance(b, Tensor) and a.dims is not None and b.dims is not None
        if not ready or len(a.dims) != len(b.dims) or len(a.dims) < 2:
            ranks = [len(x.dims or ()) for x in (a, b) if isinstance(x, Tensor)]
            return self.unknown((a, b), "a matrix product", max(ranks) if all(ranks) else None)
        self.demand((a.dims[-1], b.dims[-2]), "a matrix product sums over the full width")
        self.barrier((*a.dims[-1].streams, *b.dims[-2].streams), "a matrix product sums over the tokens")
        batch = (self.meet(x, y, last=False) for x, y in zip(a.dims[:-2], b.dims[:-2], strict=True))
        return Tensor((*batch, a.dims[-2], b.dims[-1]))

    def pad(self, x: Tensor, widths: list[Any]) -> Tensor:
        """``F.pad``: pairs of widths, from the last dimension on."""
        dims = list(x.known)
        for index, (low, high) in enumerate(zip(widths[::2], widths[1::2], strict=False), 1):
            if low != Num(Poly.of(0)) or high != Num(Poly.of(0)):
                self.demand((dims[-index],), "is padded along its shards")
                self.barrier(dims[-index].streams, "pads the tokens")
                dims[-index] = Dim(Poly.of(f"padded {index} at line {self.line}"))
        return x.alike(tuple(dims))
