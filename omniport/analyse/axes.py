"""Transfer rules of operations along dimensions: cutting, joining, reshaping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omniport.analyse.facts import Localise, Refine
from omniport.analyse.packed import PackedOps, unit_of
from omniport.analyse.poly import ONE, PER_RANK, RANKS, Poly
from omniport.analyse.shapes import Const, Dim, Num, Opaque, Part, Seq, Tensor, scaled


def in_front(sizes: list[Any]) -> list[Any]:
    """Sizes of a reshape; those in front of the last two that only run time knows have a name of their own."""
    return [
        Num(Poly.of(size.text)) if isinstance(size, Opaque) and at < len(sizes) - 2 else size
        for at, size in enumerate(sizes)
    ]


def _grouped(parts: tuple[Part, ...], sizes: list[Poly]) -> list[tuple[Part, ...]] | None:
    """Runs of whole parts that make up ``sizes``, None if there are none."""
    groups, rest = [], list(parts)
    for size in sizes:
        group: list[Part] = []
        total = Poly.of(0)
        while rest and total != size:
            group.append(rest.pop(0))
            total = total + group[-1].size
        if total != size:
            return None
        groups.append(tuple(group))
    return groups if not rest else None


class AxisOps(PackedOps):
    """The rules for operations that are given a dimension or a shape."""

    open_index: Callable[..., Any]

    # ---------------------------------------------------------------------------------------------- cutting and joining
    def axis(self, x: Tensor, dim: Any) -> int | None:
        if x.dims is None or not isinstance(dim, Num) or dim.poly.constant is None:
            return None
        index = int(dim.poly.constant)
        index = index + len(x.dims) if index < 0 else index
        return index if 0 <= index < len(x.dims) else None

    def cat(self, parts: Any, dim: Any) -> Tensor:
        items = parts.items if isinstance(parts, Seq) else []
        ranks = {len(x.dims) for x in items if isinstance(x, Tensor) and x.dims is not None}
        if len(ranks) == 1 and not parts.many:  # what is joined has one rank
            items = [self.of_rank(x, min(ranks)) if isinstance(x, Tensor) else x for x in items]
        elif not ranks and items and not parts.many and isinstance(dim, Num) and dim.poly.constant == -1:
            return self.cat_open(items)
        at = self.axis(items[0], dim) if items and isinstance(items[0], Tensor) else None
        if at is None or any(not isinstance(x, Tensor) or x.dims is None for x in items):
            return self.unknown((parts,), "concatenation of tensors of unknown rank")
        if len({len(x.dims or ()) for x in items}) > 1:
            return self.unknown((parts,), "concatenation of tensors of different rank")
        if parts.many:
            self.demand((items[0].dims[at],), "concatenation of an unknown number of tensors")
            self.barrier(items[0].dims[at].streams, "concatenates an unknown number of token axes")
            unknown = Dim(Poly.of(f"cat@{self.line}"))
            first: Tensor = items[0]
            return first.with_dim(at, unknown)
        columns = list(zip(*(x.dims for x in items), strict=True))
        dims = []
        for index, column in enumerate(columns):
            if index != at:
                met = column[0]
                for other in column[1:]:
                    met = self.meet(met, other)
                dims.append(met)
                continue
            if any(d.parts for d in column) and not all(d.parts for d in column):
                self.demand(column, "is concatenated with a tensor of full width")
            if any(d.streams for d in column) and not all(d.streams for d in column):
                self.barrier((s for d in column for s in d.streams), "tokens are concatenated with what is no stream")
            size = Poly.of(0)
            for d in column:
                size = size + d.size
            streams = tuple(s for d in column for s in d.streams) if all(d.streams for d in column) else ()
            dims.append(Dim(size, tuple(part for d in column for part in d.parts), streams))
        return Tensor(tuple(dims))

    def cat_open(self, items: list[Any]) -> Tensor:
        """Tensors of unknown rank, joined at their last dimension."""
        if any(not isinstance(x, Tensor) or not x.tail for x in items):
            return self.unknown(items, "concatenation of tensors of unknown width")
        joined = self.cat(Seq([Tensor(x.tail[-1:]) for x in items]), Num(Poly.of(0)))
        return Tensor(None, joined.known)

    def stack(self, parts: Any, dim: Any) -> Tensor:
        items = parts.items if isinstance(parts, Seq) and not parts.many else []
        if not items or any(not isinstance(x, Tensor) or x.dims is None for x in items) or not isinstance(dim, Num):
            return self.unknown((parts,), "stack of tensors of unknown rank")
        met = self.combine(items)
        at = int(dim.poly.constant) if dim.poly.constant is not None else 0
        dims = met.dims or ()
        at = at + len(dims) + 1 if at < 0 else at
        return Tensor((*dims[:at], Dim(Poly.of(len(items))), *dims[at:]))

    def chunk(self, x: Any, count: Any, dim: Any) -> Any:
        at = self.axis(x, dim) if isinstance(x, Tensor) else None
        number = count.poly.constant if isinstance(count, Num) else None
        if at is None or x.dims is None or number is None:
            return self.unknown((x,), "chunk of unknown count or axis")
        if (units := self.units(x, at, int(number))) is not None:
            return units
        size = x.dims[at].size.divide(Poly.of(int(number)))
        return self.split(x, [size or Poly.of(f"chunk@{self.line}")] * int(number), at)

    def split(self, x: Tensor, sizes: list[Poly], at: int, *, explicit: bool = False) -> Seq:
        """Cut dimension ``at`` into runs of ``sizes``, written out as numbers if ``explicit``."""
        assert x.dims is not None
        dim = x.dims[at]
        if explicit and dim.parts:
            if all(RANKS in monomial for size in sizes for monomial, _ in size.terms):
                sizes = [size.quotient(PER_RANK) or size for size in sizes]  # what a rank holds of each part
            else:
                for size in sizes:
                    self.localise(size)
                self.demand((dim,), "is split at sizes that are not those of a rank")
        if dim.streams:
            bounds = [Poly.of(0)]
            for size in sizes:
                bounds.append(bounds[-1] + size)
            pairs = zip(bounds, bounds[1:], strict=False)
            return Seq([x.with_dim(at, self.stretch(dim, low, high)) for low, high in pairs])
        if not dim.parts:
            return Seq([x.with_dim(at, Dim(size)) for size in sizes])
        if [part.size for part in dim.parts] == sizes and len(set(sizes)) == 1:
            pieces = zip(sizes, dim.parts, strict=True)
            return Seq([x.with_dim(at, Dim(size, (part,))) for size, part in pieces])
        if (groups := _grouped(dim.parts, sizes)) is not None:
            return Seq([x.with_dim(at, Dim(size, group)) for size, group in zip(sizes, groups, strict=True)])
        key = next(iter(dim.sources))
        linear = self.facts.linears.get(key)
        parts = self.decisions.parts.get(key, (linear.width if linear is not None else dim.parts[0].size,))
        own = len(dim.sources) == len(dim.parts) == 1 and (linear is None or at == len(x.dims) - 1)
        if own and dim.parts[0].size in parts:
            place = parts.index(dim.parts[0].size)
            raise Refine(key, (*parts[:place], *sizes, *parts[place + 1 :]))
        self.demand((dim,), "is cut across its shards")
        raise AssertionError("unreachable: a sharded dimension has sources")

    def stretch(self, dim: Dim, low: Poly | None, high: Poly | None) -> Dim:
        """The run [low, high) of a token axis; it has to consist of whole streams."""
        ends = [Poly.of(0)]
        for name in dim.streams:
            ends.append(ends[-1] + Poly.of(f"len({name})"))

        def find(bound: Poly | None, default: int) -> int | None:
            if bound is None:
                return default
            return next((i for i, end in enumerate(ends) if self.equal(end, bound)), None)

        first, last = find(low, 0), find(high, len(dim.streams))
        if first is None or last is None or last <= first:
            self.barrier(dim.streams, "cuts the tokens at a place that is no border of two streams")
            return Dim(Poly.of(f"slice@{self.line}"))
        streams = dim.streams[first:last]
        size = Poly.of(0)
        for name in streams:
            size = size + Poly.of(f"len({name})")
        return Dim(size, (), streams)

    def index(self, x: Tensor, items: list[Any]) -> Tensor:
        """``x[...]``; an item is a Num, a Const(None) for a new axis, ``...``, or a (low, high) pair for a slice."""
        if x.dims is None:
            found = self.open_index(x, items)
            return self.unknown((x,), "indexing a tensor of unknown rank") if found is NotImplemented else found
        taken = sum(not (item is ... or (isinstance(item, Const) and item.value is None)) for item in items)
        if taken > len(x.dims):
            return self.unknown((x,), "indexing with more indices than dimensions")
        fill: list[Any] = [(None, None)] * (len(x.dims) - taken)
        at = items.index(...) if ... in items else len(items)
        items = [*items[:at], *fill, *items[at + 1 :]]
        if (halved := self.run_of_parts(x, items)) is not None:
            return halved
        dims: list[Dim] = []
        source = iter(x.dims)
        for item in items:
            if isinstance(item, Const) and item.value is None:
                dims.append(Dim(ONE))
                continue
            dim = next(source)
            if item == (None, None):
                dims.append(dim)
            elif isinstance(item, Num):
                self.demand((dim,), "is indexed along its shards")
                self.barrier(dim.streams, "picks one token")
            elif isinstance(item, tuple):
                self.demand((dim,), "is cut across its shards")
                low, high = (bound.poly if isinstance(bound, Num) else bound for bound in item)
                if any(not (bound is None or isinstance(bound, Poly)) for bound in (low, high)):
                    self.barrier(dim.streams, "cuts the tokens at a place that is not known")
                    dims.append(Dim(Poly.of(f"slice@{self.line}")))
                    continue
                if dim.streams:
                    dims.append(self.stretch(dim, low, high))
                else:
                    ends = [
                        dim.size + end if (end.constant or 0) < 0 else end
                        for end in (low or Poly.of(0), high or dim.size)
                    ]
                    dims.append(Dim(ends[1] - ends[0]))
            elif isinstance(item, Opaque) and item.text == "step":
                self.demand((dim,), "is cut in steps across its shards")
                self.barrier(dim.streams, "takes every n-th token")
                dims.append(Dim(Poly.of(f"step@{self.line}")))
            elif isinstance(item, Tensor | Opaque) and sum(isinstance(i, Tensor | Opaque) for i in items) == 1:
                if isinstance(item, Tensor) and len(item.dims or "?") != 1:
                    return self.unknown((x, item), "indexing by a tensor")
                self.demand((dim,), "is picked from along its shards")
                self.barrier(dim.streams, "picks tokens")
                dims.append(Dim(Poly.of(f"picked at line {self.line}")))
            else:
                return self.unknown((x, item), "indexing by a tensor")
        return Tensor(tuple(dims))

    def run_of_parts(self, x: Tensor, items: list[Any]) -> Tensor | None:
        """``x[..., :half]`` of a sharded width, where ``half`` is that of what the rank holds."""
        cut = [(at, item) for at, item in enumerate(items) if item != (None, None)]
        if len(cut) != 1 or not isinstance(cut[0][1], tuple) or len(items) != len(x.dims or ()):
            return None
        (at, bounds) = cut[0]
        dim = x.known[at]
        ends = [bound.poly.quotient(PER_RANK) if isinstance(bound, Num) else None for bound in bounds]
        given = [bound for bound in bounds if bound is not None]
        if not dim.parts or any(not isinstance(b, Num) or RANKS not in b.poly.atoms for b in given):
            return None
        low, high = ends[0] or Poly.of(0), ends[1] or dim.size
        sizes = [size for size in (low, high - low, dim.size - high) if size != Poly.of(0)]
        piece: Tensor = self.split(x, sizes, at).items[0 if low == Poly.of(0) else 1]
        return piece

    # -------------------------------------------------------------------------------------------------------- shaping
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
