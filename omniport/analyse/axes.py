"""Transfer rules of operations along dimensions: cutting, joining, picking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omniport.analyse.facts import Refine
from omniport.analyse.poly import ONE, PER_RANK, RANKS, Poly
from omniport.analyse.reshape import ReshapeOps
from omniport.analyse.shapes import Const, Dim, Num, Opaque, Part, Seq, Tensor


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


class AxisOps(ReshapeOps):
    """The rules for operations that are given a dimension or places along one."""

    open_index: Callable[..., Any]

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
