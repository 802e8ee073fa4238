"""Transfer rules of tensor operations: what an operation does to sharded features and to token axes.

Every rule either keeps both facts true or says what it needs: :class:`Demand` for the full width of a sharded value, a
barrier for an operation that is not the same for each token.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from omniport.analyse import library
from omniport.analyse.facts import AttentionFact, Barrier, Decisions, Demand, Facts, LinearFact, Refine
from omniport.analyse.poly import ONE, Poly
from omniport.analyse.shapes import Const, Dim, Instance, Leaf, Num, Part, Seq, Tensor, scaled
from omniport.errors import UnsupportedError

_LENGTH = re.compile(r"len\((\w+)\)")  # the atom that stands for the length of a stream


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """All tensors, those within tuples and lists included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Seq):
            found.extend(tensors_in(value.items))
    return found


class TensorOps:
    """The rules.  ``line`` is the line being walked, ``instance`` the module whose method runs."""

    line: int
    instance: Instance
    root: Instance
    imported: set[str]
    bring: Callable[[str], ast.ClassDef | ast.FunctionDef | None]
    unsupported: Callable[..., UnsupportedError]

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self.facts = Facts()
        self.local: dict[str, Dim] = {}  # atoms that stand for the size of a sharded dimension

    # ------------------------------------------------------------------------------------------------ what rules need
    def demand(self, values: Iterable[Tensor | Dim], reason: str) -> None:
        """Raise unless all of ``values`` are whole."""
        sources = frozenset(key for value in values for key in value.sources)
        if sources:
            raise Demand(sources, reason, self.line)

    def barrier(self, streams: Iterable[str], reason: str) -> None:
        names = frozenset(streams)
        if names:
            self.facts.barriers.append(Barrier(names, reason, self.line))

    def counted(self, values: Iterable[Any], what: str) -> None:
        """A size leaves shape arithmetic: on a rank it is the size of what the rank holds."""
        for value in values:
            if isinstance(value, Seq):
                self.counted(value.items, what)
            for atom in value.poly.atoms if isinstance(value, Num) else ():
                self.barrier(_LENGTH.findall(atom), f"{what} the number of tokens")
                for name, dim in self.local.items():
                    if name in atom:
                        self.demand((dim,), f"{what} the width of a shard")

    def unknown(self, values: Iterable[Any], what: str) -> Tensor:
        """An operation without a rule: whole tensors only, no tokens, and nothing is known of the result."""
        found = tensors_in(values)
        self.demand(found, f"{what} has no sharding rule")
        self.barrier((name for value in found for name in value.streams), f"{what} is not known to act token by token")
        return Tensor(None)

    def canonical(self, size: Poly) -> Poly:
        """``size`` with each stream's length named by its representative."""
        result = Poly.of(0)
        for monomial, factor in size.terms:
            term = Poly((((), factor),))
            for atom in monomial:
                term = term * Poly.of(_LENGTH.sub(lambda found: f"len({self.facts.stream(found[1])})", atom))
            result = result + term
        return result

    def equal(self, a: Poly, b: Poly) -> bool:
        return self.canonical(a) == self.canonical(b)

    def reduce(self, x: Tensor, at: int, name: str, *, keep: bool) -> Tensor:
        """An operation along dimension ``at``, which stays, becomes one entry, or goes."""
        assert x.dims is not None
        self.demand(x.dims[at : at + 1], f"{name} runs over the full width")
        self.barrier(x.dims[at].streams, f"{name} runs over the tokens")
        if name in library.ALONG:
            return Tensor(x.dims)
        return Tensor((*x.dims[:at], *((Dim(ONE),) if keep else ()), *x.dims[at + 1 :]))

    # ----------------------------------------------------------------------------------------------- element by element
    def combine(self, values: Iterable[Any]) -> Tensor:
        """Broadcast: the tensors among ``values`` meet element by element; the result is a value of its own."""
        found = [value for value in values if isinstance(value, Tensor)]
        result = Tensor(found[0].dims)
        for other in found[1:]:
            if result.dims is None or other.dims is None:
                return self.unknown((result, other), "broadcasting against a tensor of unknown rank")
            rank = max(len(result.dims), len(other.dims))
            pad = (Dim(ONE),) * rank
            pairs = zip((pad + result.dims)[-rank:], (pad + other.dims)[-rank:], strict=True)
            result = Tensor(tuple(self.meet(a, b) for a, b in pairs))
        return result

    def meet(self, a: Dim, b: Dim) -> Dim:
        if a.one or b.one:
            return b if a.one else a
        if a.streams and b.streams:
            self.in_step(a.streams, b.streams)
        else:
            self.barrier(a.streams + b.streams, "a token axis meets a tensor that has one entry for each token")
        if str(b.size) < str(a.size):
            a, b = b, a  # sizes that meet are equal; one spelling of them makes loops stable
        if not a.parts and not b.parts:
            return a if a.streams else b
        if [part.size for part in a.parts] != [part.size for part in b.parts]:
            self.demand((a, b), "meets a tensor of full width")
        parts = zip(a.parts, b.parts, strict=True)
        return replace(a, parts=tuple(Part(x.size, x.sources | y.sources) for x, y in parts))

    def in_step(self, a: tuple[str, ...], b: tuple[str, ...]) -> None:
        if len(a) != len(b):
            self.barrier(a + b, "token axes of different make-up meet")
        else:
            for x, y in zip(a, b, strict=True):
                self.facts.same(x, y)

    # ------------------------------------------------------------------------------------------------------ modules
    def linear(self, leaf: Leaf, x: Any) -> Tensor:
        features, width = leaf.argument(0, "in_features"), leaf.argument(1, "out_features")
        if not isinstance(x, Tensor) or not isinstance(features, Num) or not isinstance(width, Num):
            return self.unknown((x,), "a linear layer of unknown size")
        key = leaf.key
        if key[0] in self.imported:
            self.demand((x,), f"{key[0]} is not part of the port and takes whole tensors")
            return Tensor(None if x.dims is None else (*x.dims[:-1], Dim(width.poly)))
        fact = self.facts.linears.setdefault(key, LinearFact(leaf.line, width.poly, features.poly))
        fact.inputs.append(x.serial)
        fact.lines.append(self.line)
        if x.dims is None:
            fact.known = False
            if key not in self.decisions.whole:
                raise Demand(frozenset({key}), "the rank of its input is not known", self.line)
            return Tensor(None)
        self.demand(x.dims[:-1], "a linear layer takes rows of full width")
        fact.token_sized |= any(not dim.one for dim in x.dims[1:-1]) or bool(x.dims[0].streams)
        if key[0] == self.root.cls and fact.token_sized and key not in self.decisions.whole:
            raise Demand(frozenset({key}), "it stands at the border of the model, where tokens are split", self.line)
        parts = x.dims[-1].parts
        rows = tuple(part.size for part in parts)
        if len(fact.inputs) > 1 and fact.rows != rows:
            self.demand((x,), f"{leaf.path} is also called on an input that is sharded otherwise")
            raise Demand(fact.row_sources, f"{leaf.path} is also called on a whole input", self.line)
        fact.rows, fact.row_sources = rows, x.dims[-1].sources
        out = Dim(width.poly)
        if not rows and key not in self.decisions.whole:
            sizes = self.decisions.parts.get(key, (width.poly,))
            out = Dim(width.poly, tuple(Part(size, frozenset({key})) for size in sizes))
        elif rows and key in self.decisions.whole:
            self.demand((x,), f"{leaf.path} stays whole")
        return Tensor((*x.dims[:-1], out))

    def norm(self, x: Any, what: str) -> Tensor:
        if not isinstance(x, Tensor) or x.dims is None:
            return self.unknown((x,), what)
        self.demand(x.dims[-1:], f"{what} normalises over the full width")
        self.barrier(x.dims[-1].streams, f"{what} normalises over the tokens")
        return Tensor(x.dims)

    def attention(self, query: Any, key: Any, value: Any, options: dict[str, Any]) -> Tensor:
        heads: list[Dim] = []
        for x in (query, key, value):
            if not isinstance(x, Tensor) or x.dims is None or len(x.dims) != 4:
                raise self.unsupported("attention on tensors that are not known to be [B, S, H, D]")
            self.demand((*x.dims[:2], x.dims[3]), "attention needs whole heads")
            heads.append(x.dims[2])
        if len({len(dim.parts) for dim in heads}) > 1 or len(heads[0].parts) > 1:
            self.demand(heads, "query, key and value are not sharded by heads alike")
        self.facts.attentions.append(AttentionFact(self.instance, self.line, query, key, value, options))
        return Tensor((*query.dims[:3], value.dims[3]))

    def rotary(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
        at, table_at, axis_name, axis = library.ROTARY[name]
        x, tables = args[at], tensors_in((args[table_at],)) if len(args) > table_at else []
        given = kwargs.get(axis_name)
        definition = self.bring(name)
        if isinstance(definition, ast.FunctionDef):
            args_of = definition.args
            defaults = dict(zip([a.arg for a in args_of.args][::-1], args_of.defaults[::-1], strict=False))
            default = defaults.get(axis_name)
            axis = default.value if isinstance(default, ast.Constant) and isinstance(default.value, int) else axis
        if isinstance(given, Num) and given.poly.constant is not None:
            axis = int(given.poly.constant)
        if not isinstance(x, Tensor) or x.dims is None or not tables:
            return self.unknown((*args, *kwargs.values()), name)
        self.demand(x.dims[-1:], "rotary embedding needs whole heads")
        for table in tables:
            self.demand((table,), "a rotary table is whole")
            if table.dims is None:
                self.barrier(x.streams, "the rows of the rotary table are not known to belong to the tokens")
            elif x.dims[axis].streams or table.dims[0].streams:
                self.meet(replace(x.dims[axis], parts=()), table.dims[0])
        return Tensor(x.dims)

    # ---------------------------------------------------------------------------------------------- cutting and joining
    def axis(self, x: Tensor, dim: Any) -> int | None:
        if x.dims is None or not isinstance(dim, Num) or dim.poly.constant is None:
            return None
        index = int(dim.poly.constant)
        return index + len(x.dims) if index < 0 else index

    def cat(self, parts: Any, dim: Any) -> Tensor:
        items = parts.items if isinstance(parts, Seq) else []
        at = self.axis(items[0], dim) if items and isinstance(items[0], Tensor) else None
        if at is None or any(not isinstance(x, Tensor) or x.dims is None for x in items):
            return self.unknown((parts,), "concatenation of tensors of unknown rank")
        if parts.many:
            self.demand(items, "concatenation of an unknown number of tensors")
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

    def chunk(self, x: Any, count: Any, dim: Any) -> Any:
        at = self.axis(x, dim) if isinstance(x, Tensor) else None
        number = count.poly.constant if isinstance(count, Num) else None
        if at is None or x.dims is None or number is None:
            return self.unknown((x,), "chunk of unknown count or axis")
        size = x.dims[at].size.divide(Poly.of(int(number)))
        return self.split(x, [size or Poly.of(f"chunk@{self.line}")] * int(number), at)

    def split(self, x: Tensor, sizes: list[Poly], at: int, *, explicit: bool = False) -> Seq:
        """Cut dimension ``at`` into runs of ``sizes``, written out as numbers if ``explicit``."""
        assert x.dims is not None
        dim = x.dims[at]
        if explicit:
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
        key = next(iter(dim.sources))
        fact = self.facts.linears[key]
        if len(dim.sources) == 1 and at == len(x.dims) - 1 and fact.width == dim.size and len(dim.parts) == 1:
            raise Refine(key, tuple(sizes))
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
            return self.unknown((x,), "indexing a tensor of unknown rank")
        taken = sum(not (item is ... or (isinstance(item, Const) and item.value is None)) for item in items)
        fill: list[Any] = [(None, None)] * (len(x.dims) - taken)
        at = items.index(...) if ... in items else len(items)
        items = [*items[:at], *fill, *items[at + 1 :]]
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
                if dim.streams:
                    dims.append(self.stretch(dim, low, high))
                else:
                    size = high - (low or Poly.of(0)) if isinstance(high, Poly) else Poly.of(f"slice@{self.line}")
                    dims.append(Dim(size))
            else:
                return self.unknown((x, item), "indexing by a tensor")
        return Tensor(tuple(dims))

    # -------------------------------------------------------------------------------------------------------- shaping
    def unflatten(self, x: Tensor, at: int, sizes: list[Any], texts: list[str]) -> Tensor:
        """Cut one dimension in two; the first of the pair is the sharded one (heads)."""
        assert x.dims is not None
        dim, polys = x.dims[at], [size.poly if isinstance(size, Num) else None for size in sizes]
        if len(polys) != 2 or None in polys or dim.streams:
            return self.unknown((x,), "unflatten into anything but two known sizes")
        first, second = (poly for poly in polys if poly is not None)
        explicit = first.constant != -1
        if explicit and second.constant == -1:
            second = dim.size.divide(first) or Poly.of(f"{dim.size} // {first}")
        heads = scaled(dim, second, divide=True)
        if heads is None:
            self.demand((dim,), "is reshaped to sizes that do not divide it")
            heads = Dim(first if explicit else Poly.of(f"{dim.size} // {second}"))
        if heads.parts:
            if len(heads.parts) > 1:
                self.demand((dim,), "packed parts are reshaped as one")
            if explicit:
                self.facts.explicit_heads.add((self.instance.cls, texts[0]))
        return Tensor((*x.dims[:at], heads, Dim(second), *x.dims[at + 1 :]))

    def flatten(self, x: Tensor, start: int, end: int) -> Tensor:
        assert x.dims is not None
        run = x.dims[start : end + 1]
        self.barrier((s for dim in run for s in dim.streams), "merges the token axis with another")
        self.demand(run[1:], "is flattened behind another dimension")
        result = Dim(run[0].size, run[0].parts)
        for dim in run[1:]:
            result = scaled(result, dim.size) or result
        return Tensor((*x.dims[:start], result, *x.dims[end + 1 :]))

    def view(self, x: Tensor, sizes: list[Any], texts: list[str]) -> Tensor:
        """``view``/``reshape``: the last dimension in two, or the last two in one; anything else is not followed."""
        if x.dims is None or any(not isinstance(size, Num) for size in sizes):
            return self.unknown((x,), "reshape to sizes that are not known")
        polys, rank = [size.poly for size in sizes], len(x.dims)

        def keeps(count: int) -> bool:
            pairs = zip(polys[:count], (x.dims or ())[:count], strict=True)
            return sum(p.constant == -1 for p in polys) <= 1 and all(
                p.constant == -1 or self.equal(p, d.size) for p, d in pairs
            )

        if len(polys) == rank + 1 and keeps(rank - 1):
            return self.unflatten(x, rank - 1, sizes[-2:], texts[-2:])
        if len(polys) == rank - 1 and keeps(rank - 2):
            if polys[-1].constant != -1:
                self.demand(x.dims[-2:], "is reshaped to an explicit full width")
            return self.flatten(x, rank - 2, rank - 1)
        return self.unknown((x,), "reshape across dimensions")
