"""Transfer rules of fused projections: a width of equal parts, each of them sharded by itself."""

from __future__ import annotations

from collections.abc import Callable

from omniport.analyse.ops import TensorOps
from omniport.analyse.poly import PER_RANK, RANKS, Poly
from omniport.analyse.shapes import Dim, Part, Seq, Tensor


def unit_of(size: Poly, number: int) -> Poly | None:
    """What ``size`` is ``number`` times of, where a condition of the constructor sets that number."""
    counts = (atom for atom in sorted(size.atoms) if str(number) in atom.split(" or ") and " or " in atom)
    return next((unit for atom in counts if (unit := size.divide(Poly.of(atom))) is not None), None)


class PackedOps(TensorOps):
    """The rules."""

    split: Callable[..., Seq]
    heads: Callable[..., Dim | None]
    front: Callable[..., tuple[Dim, ...]]

    def units(self, x: Tensor, at: int, number: int) -> Seq | None:
        """``chunk(5)`` of a width that is 5 or 3 times another: what a condition sets in the constructor, too."""
        dim = x.known[at]
        unit = unit_of(dim.size, number)
        if unit is None or number == 1 or len(dim.parts) > 1 or dim.streams:
            return None
        for key in sorted(dim.sources):
            count = dim.size.divide(unit)
            if count is not None:
                self.decisions.units.setdefault(key, (unit, count))
        parts = tuple(Part(unit, part.sources) for part in dim.parts)
        return Seq([x.with_dim(at, Dim(unit, parts)) for _ in range(number)])

    def packed_heads(self, x: Tensor, polys: list[Poly]) -> Tensor | None:
        """``view(..., 3, heads, head_dim)`` of a fused projection: equal parts, each of them cut into heads."""
        count = polys[-3].constant if len(polys) > 2 else None
        last = x.known[-1]
        if not last.parts or count is None or count < 2 or polys[-1].constant == -1:
            return None
        piece = last.size.divide(Poly.of(int(count)))
        whole = polys[-2].quotient(PER_RANK) if RANKS in polys[-2].atoms else polys[-2]
        if piece is None or whole is None or not self.exact(whole * polys[-1], piece):
            return None
        pieces = self.split(Tensor((last,)), [piece] * int(count), 0).items
        heads = self.heads(pieces[0].known[0], polys[-2], polys[-1])
        if heads is None:
            return None
        return Tensor((*self.front(x, polys, len(x.known) - 1, 3), Dim(polys[-3]), heads, Dim(polys[-1])))
