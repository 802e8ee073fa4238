"""Transfer rules of operations that give a tensor another shape: dimensions cut in two, merged, or kept."""

from __future__ import annotations

from typing import Any

from omniport.analyse.facts import Localise
from omniport.analyse.packed import PackedOps, unit_of
from omniport.analyse.poly import PER_RANK, RANKS, Poly
from omniport.analyse.shapes import Dim, Num, Opaque, Part, Seq, Tensor, scaled


def in_front(sizes: list[Any]) -> list[Any]:
    """Sizes of a reshape; those in front of the last two that only run time knows have a name of their own."""
    return [
        Num(Poly.of(size.text)) if isinstance(size, Opaque) and at < len(sizes) - 2 else size
        for at, size in enumerate(sizes)
    ]


class ReshapeOps(PackedOps):
    """The rules for operations that are given sizes."""

    def held(self, dim: Dim) -> Poly:
        """The size of a dimension on one rank."""
        return dim.size * PER_RANK if dim.parts else dim.size

    def heads(self, dim: Dim, first: Poly, second: Poly) -> Dim | None:
        """The first of two factors that ``dim`` is cut into, sharded as ``dim`` is; None if they do not make it up."""
        if len(dim.parts) < 2 and (unit := unit_of(dim.size, 1)) is not None:
            dim = Dim(unit, tuple(Part(unit, part.sources) for part in dim.parts))
        if RANKS in first.atoms and not dim.parts:
            self.demand_local("the heads of a rank are cut out of a full width")
            return None
        if first.constant == -1:
            size = dim.size.quotient(second)
            if size is None or second.constant == -1 or RANKS in second.atoms:
                return None
        elif not dim.parts:
            whole = second.constant == -1 or self.equal(first * second, dim.size)
            return Dim(first) if whole and RANKS not in first.atoms else None
        else:
            if RANKS not in first.atoms:
                self.localise(first)
            made_up = self.exactly(first) * self.exactly(second)
            if RANKS in second.atoms or not (
                second.constant == -1 or self.equal(made_up, self.exactly(self.held(dim)))
            ):
                return None
            if (whole_heads := first.divide(PER_RANK)) is None or RANKS in whole_heads.atoms:
                return None
            size = whole_heads
        if not dim.parts:
            return Dim(size)
        self.facts.heads.setdefault(size, self.line)
        if len(dim.parts) == 1:
            return Dim(size, (Part(size, dim.sources),))
        return scaled(dim, second, divide=True) if second.constant != -1 else None

    def localise(self, size: Poly) -> None:
        """Have the attributes that hold the head count ``size`` hold that of a rank."""
        if self.instance.cls in self.imported or self.instance is self.root:
            return
        names = tuple(
            name
            for name, value in self.instance.attributes.items()
            if isinstance(value, Num) and value.poly == size and size.constant is None
            if (self.instance.cls, name) not in self.decisions.kept
        )
        if names and not any((self.instance.cls, name) in self.decisions.local for name in names):
            raise Localise(self.instance.cls, size, names)

    def unflatten(self, x: Tensor, at: int, sizes: list[Any]) -> Tensor:
        """Cut one dimension in two; the first of the pair is the sharded one (heads)."""
        assert x.dims is not None
        dim, polys = x.dims[at], [size.poly if isinstance(size, Num) else None for size in sizes]
        if len(polys) != 2 or None in polys or dim.streams:
            return self.unknown((x,), "unflatten into anything but two known sizes", len(x.dims) - 1 + len(sizes))
        first, second = (poly for poly in polys if poly is not None)
        heads = self.heads(dim, first, second)
        if heads is None:
            self.demand((dim,), "is reshaped to sizes that do not divide it")
            rest = second if second.constant != -1 else dim.size.divide(first) or Poly.of(f"{dim.size} // {first}")
            heads = Dim(first if first.constant != -1 else Poly.of(f"{dim.size} // {second}"))
            return Tensor((*x.dims[:at], heads, Dim(rest), *x.dims[at + 1 :]))
        if len(heads.parts) > 1:
            self.demand((dim,), "packed parts are reshaped as one")
        rest = second if second.constant != -1 else dim.size.quotient(heads.size) or Poly.of(f"rest@{self.line}")
        return Tensor((*x.dims[:at], heads, Dim(rest), *x.dims[at + 1 :]))

    def flatten(self, x: Tensor, start: int, end: int) -> Tensor:
        assert x.dims is not None
        run = x.dims[start : end + 1]
        self.barrier((s for dim in run for s in dim.streams), "merges the token axis with another")
        self.demand(run[1:], "is flattened behind another dimension")
        result = Dim(run[0].size, run[0].parts)
        for dim in run[1:]:
            result = scaled(result, dim.size) or result
        return Tensor((*x.dims[:start], result, *x.dims[end + 1 :]))

    def view(self, x: Tensor, sizes: list[Any]) -> Tensor:
        """``view``/``reshape``: the last dimension in two, the last two in one, or the last as it is.

        Where the sizes in front of them are not seen to stay, only their number is known afterwards.
        """
        sizes = in_front(sizes)
        known = not any(isinstance(size, Seq | Tensor) for size in sizes) and len(sizes) > 1
        if x.dims is None or not x.dims or not sizes or any(not isinstance(size, Num) for size in sizes):
            return self.shaped(x, sizes, "reshape to sizes that are not known", known=known)
        polys, rank = [size.poly for size in sizes], len(x.dims)
        last = x.dims[-1]
        if (kept := self.kept_in_front(x, polys)) is not None:
            return kept
        if (packed := self.packed_heads(x, polys)) is not None:
            return packed
        if len(polys) == 1:
            return self.unknown((x,), "reshape across dimensions", 1)
        if polys[-1].constant != -1 and not self.equal(polys[-1], self.held(last)):
            if self.keeps(x, polys, rank - 1, 2) or polys[-2].constant != -1:
                heads = self.heads(last, polys[-2], polys[-1])
                if heads is not None:
                    pair = self.unflatten(Tensor((last,)), 0, sizes[-2:]).dims or ()
                    return Tensor((*self.front(x, polys, rank - 1, 2), *pair))
        elif (
            polys[-2].constant != -1
            and polys[-1].constant == -1
            and last.parts
            and RANKS in polys[-2].atoms
            or len(polys) == rank + 1
            and self.keeps(x, polys, rank - 1, 2)
        ):
            pair = self.unflatten(Tensor((last,)), 0, sizes[-2:]).dims or ()
            return Tensor((*self.front(x, polys, rank - 1, 2), *pair))
        if rank >= 2:
            run = self.flatten(Tensor(x.dims[-2:]), 0, 1) if not x.dims[-2].streams and not last.parts else None
            if run is not None and run.sources and self.equal(polys[-1], (run.dims or ())[0].size):
                self.localise(polys[-1])
            if run is not None and run.sources and RANKS in polys[-1].atoms:
                self.facts.widths.add((run.dims or ())[0].size)
            if run is not None and run.dims and self.fits_last(x, polys, rank - 2, self.held(run.dims[0])):
                return Tensor((*self.front(x, polys, rank - 2, 1), *run.dims))
        if self.fits_last(x, polys, rank - 1, self.held(last)):
            return Tensor((*self.front(x, polys, rank - 1, 1), last))
        return self.shaped(x, sizes, "reshape across dimensions", known=True)

    def shaped(self, x: Tensor, sizes: list[Any], what: str, *, known: bool) -> Tensor:
        """A tensor of ``sizes``, as far as they are numbers, of which nothing else is known."""
        self.counted(sizes, "reshape is given")
        result = self.unknown((x,), what, len(sizes) if known else None)
        for at, size in enumerate(sizes) if known else ():
            if isinstance(size, Num) and size.poly.constant != -1:
                result = result.with_dim(at, Dim(size.poly))
        return result

    def kept_in_front(self, x: Tensor, polys: list[Poly]) -> Tensor | None:
        """``x.reshape(*x.shape[:-1], -1, 2)``: the first dimensions stay, whole ones behind them are cut anew."""
        dims = list(x.dims or ())
        front = 0
        while front < min(len(dims), len(polys)) and self.equal(polys[front], self.held(dims[front])):
            front += 1
        rest, sizes = dims[front:], polys[front:]
        if not rest or not sizes or any(dim.parts or dim.streams for dim in rest) or not any(d.parts for d in dims):
            return None
        whole, known = Poly.of(1), Poly.of(1)
        for dim in rest:
            whole = whole * dim.size
        for size in sizes:
            known = known if size.constant == -1 else known * size
        open_size = whole.quotient(known) or Poly.of(f"rest at line {self.line}")
        return Tensor((*dims[:front], *(Dim(open_size if size.constant == -1 else size) for size in sizes)))

    def fits_last(self, x: Tensor, polys: list[Poly], front: int, size: Poly) -> bool:
        return self.equal(polys[-1], size) or (polys[-1].constant == -1 and self.keeps(x, polys, front, 1))

    def keeps(self, x: Tensor, polys: list[Poly], front: int, back: int) -> bool:
        """Whether all sizes but the last ``back`` are those of the first ``front`` dimensions."""
        given = polys[: len(polys) - back]
        if len(given) != front or sum(p.constant == -1 for p in given) > 1 or x.dims is None:
            return False
        pairs = zip(given, x.dims[:front], strict=True)
        return all(p.constant == -1 or self.equal(p, self.held(d)) for p, d in pairs)

    def front(self, x: Tensor, polys: list[Poly], front: int, back: int) -> tuple[Dim, ...]:
        """The dimensions in front of the last ``back`` sizes."""
        assert x.dims is not None
        if self.keeps(x, polys, front, back):
            return x.dims[:front]
        self.demand(x.dims[:front], "is reshaped in front of its last dimension")
        self.barrier((s for dim in x.dims[:front] for s in dim.streams), "is reshaped across tokens")
        plain = polys[: len(polys) - back]
        sizes = [p if p.constant != -1 else Poly.of(f"size {at} at line {self.line}") for at, p in enumerate(plain)]
        return tuple(Dim(size) for size in sizes)
