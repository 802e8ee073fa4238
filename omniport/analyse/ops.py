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
from omniport.analyse.facts import AttentionFact, Barrier, Decisions, Demand, Facts, LinearFact, NormFact, Site
from omniport.analyse.poly import ONE, RANKS, Poly
from omniport.analyse.shapes import (
    Const,
    Dim,
    Either,
    Fields,
    Instance,
    Key,
    Leaf,
    Method,
    Num,
    Opaque,
    Part,
    Seq,
    Tensor,
    modules_in,
)
from omniport.errors import UnsupportedError

_RANKS = 8  # a width that no parameter sets is sharded if that many ranks can share it
_LENGTH = re.compile(r"len\((\w+)\)")  # the atom that stands for the length of a stream


#: Kinds of values that are tensors or hold some.
HOLD_TENSORS = frozenset({Tensor, Seq, Either, Fields, Method})


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """All tensors, those within tuples and lists included."""
    found: list[Tensor] = []
    for value in values:
        kind = type(value)
        if kind not in HOLD_TENSORS:
            continue
        if kind is Tensor:
            found.append(value)
        elif kind is Fields:
            found.extend(tensors_in(value.items.values()))
        elif kind is not Method:
            found.extend(tensors_in(value.items))
        elif isinstance(value.base, Tensor):
            found.append(value.base)
    return found


class TensorOps:
    """The rules.  ``line`` is the line being walked, ``instance`` the module whose method runs."""

    line: int
    instance: Instance
    root: Instance
    imported: set[str]
    placed: set[Key]
    attending: set[str]
    bring: Callable[[str], ast.ClassDef | ast.FunctionDef | None]
    unsupported: Callable[..., UnsupportedError]

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self.facts = Facts()
        self.assumed: dict[int, Tensor] = {}  # by serial: a tensor of unknown rank, with the rank that it must have
        self.ratios: list[Poly] = []  # of numbers that a condition compares, where its paths meet
        self.floors: dict[str, Poly] = {}  # numbers that a constructor divides, taken as exact
        self.local: list[Dim] = []  # sharded dimensions whose size was read

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

    def counted(self, values: Iterable[Any], what: str, *, heads: bool = False) -> None:
        """A size leaves shape arithmetic: on a rank it is the size of what the rank holds.

        ``heads``: that of heads may, in a comparison of shapes whose both outcomes are followed.
        """
        for value in values:
            if isinstance(value, Seq):
                self.counted(value.items, what, heads=heads)
            for atom in value.poly.atoms if isinstance(value, Num) else ():
                self.barrier(_LENGTH.findall(atom), f"{what} the number of tokens")
                if RANKS in atom and not heads:
                    read = [dim for dim in self.local if dim.size.atoms <= value.poly.atoms]
                    self.demand(read or self.local, f"{what} the width of a shard")
                    self.demand_local(f"{what} the heads of a rank")

    def demand_local(self, reason: str) -> None:
        """The head count of a rank is used for something else than heads: the class keeps all its heads."""
        cls = self.instance.cls
        if any(owner == cls for owner, _ in self.decisions.local):
            own = (m.key for m in modules_in(self.instance) if isinstance(m, Leaf) and m.cls.endswith("Linear"))
            keys = frozenset(key for key in own if key[0] == cls and key not in self.decisions.whole)
            for local in [] if keys else [local for local in self.decisions.local if local[0] == cls]:
                del self.decisions.local[local]
                self.decisions.kept.add(local)
            if before := self.fed_by(keys):
                raise Demand(before, "its result is cut into heads that are sharded", self.line)
            if keys:
                raise Demand(keys, reason, self.line)

    def fed_by(self, keys: frozenset[Key]) -> frozenset[Key]:
        """Linears of other classes that shard the input of some of ``keys``, which are rows for that alone."""
        rows = [fact for key in keys if (fact := self.facts.linears.get(key)) is not None and fact.rows]
        sources = {source for fact in rows for source in fact.row_sources}
        return frozenset(s for s in sources if s[0] not in {key[0] for key in keys} and s not in self.decisions.whole)

    def unknown(self, values: Iterable[Any], what: str, rank: int | None = None) -> Tensor:
        """An operation without a rule: whole tensors only, no tokens, and of the result at most the rank is known."""
        found = tensors_in(values)
        self.demand(found, f"{what} has no sharding rule")
        self.barrier((name for value in found for name in value.streams), f"{what} is not known to act token by token")
        return Tensor(None) if rank is None else self.sizeless(rank)

    def of_rank(self, x: Tensor, rank: int) -> Tensor:
        """``x``, whose rank turns out to be ``rank``."""
        if x.dims is not None or len(x.tail) > rank:
            return x
        return Tensor(((self.sizeless(rank).dims or ())[: rank - len(x.tail)]) + x.tail)

    def of_tokens(self, x: Tensor) -> bool:
        """Whether a tensor of unknown rank may hold something for each token: what it is computed from says so."""
        return x.origins is None or any(name not in library.VECTORS for name in x.origins)

    def sizeless(self, rank: int) -> Tensor:
        """A tensor of which only the rank is known."""
        return Tensor(tuple(Dim(Poly.of(f"size {at} at line {self.line}")) for at in range(rank)))

    def canonical(self, size: Poly) -> Poly:
        """``size`` with each stream's length named by its representative."""
        result = Poly.of(0)
        for monomial, factor in size.terms:
            term = Poly((((), factor),))
            for atom in monomial:
                term = term * Poly.of(_LENGTH.sub(lambda found: f"len({self.facts.stream(found[1])})", atom))
            result = result + term
        return result

    def exact(self, a: Poly, b: Poly) -> bool:
        """Whether two sizes are equal if the divisions of constructors have no remainder."""
        return self.equal(self.exactly(a), self.exactly(b))

    def exactly(self, size: Poly) -> Poly:
        """``size`` with the divisions of constructors exact, as a reshape to quotient and divisor says they are."""
        for atom in size.atoms & self.floors.keys():
            rest = size.divide(Poly.of(atom))
            size = rest * self.floors[atom] if rest is not None else size
        return size

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
        found = tensors_in(values)
        result = found[0].alike(found[0].known)
        for other in found[1:]:
            if result.dims is None or other.dims is None:
                result = self.combine_open(result, other)
                continue
            rank = max(len(result.dims), len(other.dims))
            pad = (Dim(ONE),) * rank
            pairs = zip((pad + result.dims)[-rank:], (pad + other.dims)[-rank:], strict=True)
            learned = self.learned(result, other)
            result = Tensor(tuple(self.meet(a, b, last=learned or at == rank) for at, (a, b) in enumerate(pairs, 1)))
        return result

    def combine_open(self, a: Tensor, b: Tensor) -> Tensor:
        """Broadcast where a rank is not known.

        A tensor of known rank that has tokens (3 dimensions or more) is taken for the larger one: it meets gates,
        shifts, norms' weights and position tables.  Sharded features meet sharded ones only; sharded heads may meet
        a tensor that is the same for all heads: one that were not would not fit the heads of a rank.
        """
        self.barrier((*a.streams, *b.streams), "broadcasting against a tensor of unknown rank")
        ranks = [len(x.dims) for x in (a, b) if x.dims is not None]
        rank = ranks[0] if ranks and ranks[0] >= 3 else None
        short, long = sorted((a.known, b.known), key=len)
        missing = [dim for at, dim in enumerate(long[: len(long) - len(short)], -len(long)) if at == -1]
        self.demand(missing, "meets a tensor of unknown width")
        learned = self.learned(a, b)
        if learned:
            self.demand(long[: len(long) - len(short)], "may meet a parameter with an entry for each head")
        pairs = zip(long[len(long) - len(short) :], short, strict=True)
        met = tuple(self.meet(x, y, last=learned or at == len(short)) for at, (x, y) in enumerate(pairs, 1))
        above = tuple(dim if dim.parts else replace(dim, streams=()) for dim in long[: len(long) - len(short)])
        if rank is not None:
            known = (*above, *met)
            size = [Dim(Poly.of(f"size {at} at line {self.line}")) for at in range(rank - len(known))]
            return Tensor((*size, *known)) if len(known) <= rank else Tensor(None, met)
        self.demand(above, "meets a tensor of unknown rank")
        return Tensor(None, met)

    @staticmethod
    def learned(a: Tensor, b: Tensor) -> bool:
        """Whether the whole one of two tensors is computed from a parameter: it may differ from head to head."""
        return any("parameter" in (x.origins or ()) and not x.sources for x in (a, b))

    def meet(self, a: Dim, b: Dim, *, last: bool = True) -> Dim:
        """Two dimensions that are broadcast against one another.

        Heads of a rank may meet a table of another size: it has one entry for all heads, or it would not fit them.
        """
        if a.one or b.one:
            return b if a.one else a
        if a.streams and b.streams:
            self.in_step(a.streams, b.streams)
        else:
            self.barrier(a.streams + b.streams, "a token axis meets a tensor that has one entry for each token")
        if len(a.parts) == len(b.parts) == 1 and a.size.quotient(b.size) in self.ratios:
            return a  # heads of queries, where there are as many of them as of keys
        if str(b.size) < str(a.size):
            a, b = b, a  # sizes that meet are equal; one spelling of them makes loops stable
        if not a.parts and not b.parts:
            return a if a.streams else b
        if not last and not (a.parts and b.parts) and not self.equal(a.size, b.size):
            return a if a.parts else b
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
        if isinstance(width, Opaque):
            width = Num(Poly.of(width.text))
        if not isinstance(x, Tensor) or not isinstance(width, Num):
            return self.unknown((x,), "a linear layer of unknown size")
        features = features if isinstance(features, Num) else Num(Poly.of(f"{leaf.path} input"))
        key = leaf.key
        if key[0] in self.imported:
            self.demand((x,), f"{key[0]} is not part of the port and takes whole tensors")
            return Tensor(None, (Dim(width.poly),)) if x.dims is None else Tensor((*x.dims[:-1], Dim(width.poly)))
        fact = self.facts.linears.setdefault(key, LinearFact(leaf.line, width.poly, features.poly))
        fact.calls += 1
        fact.lone = "*" in leaf.owner.dotted.split(".") and key[0] not in self.attending if leaf.owner else False
        fixed = width.poly.constant
        if key not in self.decisions.whole and fixed is not None and fixed % _RANKS:
            self.settle(key, f"its width is always {fixed}", replicate=True)
        if key not in self.decisions.whole and (reason := self.unwritten(leaf)):
            self.settle(key, reason, replicate=True)
        fact.inputs.append(x.serial)
        fact.lines.append(self.line)
        if x.dims is None and key[0] in self.attending:
            # The attention that its result reaches has four dimensions, so this one has three.
            last = x.known[-1:] or (Dim(features.poly),)
            x = self.assumed.setdefault(x.serial, Tensor((*(self.sizeless(3).dims or ())[:2], *last)))
        known = x.known or (Dim(features.poly),)
        self.demand(known[:-1], "a linear layer takes rows of full width")
        if x.dims is None:
            fact.token_sized |= self.of_tokens(x)
        else:
            fact.token_sized |= any(not dim.one for dim in x.dims[1:-1]) or bool(x.dims[0].streams)
            fact.token_sized |= library.ROWS in (x.origins or ())
        if key[0] == self.root.cls and fact.token_sized and key not in self.decisions.whole:
            self.settle(key, "it stands at the border of the model, where tokens are split")
        parts = known[-1].parts
        rows = tuple(part.size for part in parts)
        if len(fact.inputs) > 1 and fact.rows != rows and not len(fact.rows) == len(rows) == 1:
            self.demand((x,), f"{leaf.path} is also called on an input that is sharded otherwise")
            raise Demand(fact.row_sources, f"{leaf.path} is also called on a whole input", self.line)
        fact.rows, fact.row_sources = rows, known[-1].sources
        out = Dim(width.poly)
        if not rows and key not in self.decisions.whole:
            sizes = self.decisions.parts.get(key, (width.poly,))
            if len(set(sizes)) == 1 and len(sizes) > 1:  # equal parts, in each instance of its own width
                sizes = (width.poly.divide(Poly.of(len(sizes))) or sizes[0],) * len(sizes)
            out = Dim(width.poly, tuple(Part(size, frozenset({key})) for size in sizes))
        elif rows and key in self.decisions.whole:
            self.demand((x,), f"{leaf.path} stays whole")
        result: Tensor = x.alike((*known[:-1], out))
        return result

    def settle(self, key: Key, reason: str, *, replicate: bool = False) -> None:
        """The linear that is being called cannot be a column.  At its first call nothing was concluded from its being
        one, unless its class counts the heads of a rank: the walk goes on as the next one would come here."""
        demand = Demand(frozenset({key}), reason, self.line, replicate=replicate)
        if self.facts.linears[key].calls > 1 or any(cls == key[0] for cls, _ in self.decisions.local):
            raise demand
        self.decisions.take_back(key, demand, self.facts)

    def unwritten(self, leaf: Leaf) -> str:
        """Why no parallel layer can be written for a linear, "" if it can."""
        extra = leaf.kwargs.keys() - {"in_features", "out_features", "bias"}
        if extra or len(leaf.args) > 3:
            return f"it is made with {', '.join(sorted(extra)) or 'further arguments'}"
        return "" if leaf.key in self.placed else "it is made where the rewrite does not look"

    def norm(self, x: Any, leaf: Leaf) -> Tensor:
        """A norm over the last dimension; one across the heads of the projection before it is shared by the ranks."""
        what, before = leaf.path, self.facts.norms.get(leaf.key)
        if not isinstance(x, Tensor):
            return self.unknown((x,), what)
        if len(x.dims or ()) == 3 and self.across_heads(leaf, x.known[-1]):
            kind = library.WIDE_NORMS[leaf.cls.rpartition(".")[2]]
            sources = x.known[-1].sources | (before.sources if before else frozenset())
            self.facts.norms[leaf.key] = NormFact(kind, sources, leaf.line)
            return x.alike(x.known)
        if before is not None:
            raise Demand(before.sources, f"{what} is also called on a whole input", self.line)
        self.demand(x.known[-1:], f"{what} normalises over the full width")
        self.barrier((s for dim in x.known[-1:] for s in dim.streams), f"{what} normalises over the tokens")
        return x.alike(x.known)

    def across_heads(self, leaf: Leaf, dim: Dim) -> bool:
        """Whether a norm runs over all that a projection of its own class computes, heads by heads on the ranks."""
        size = leaf.argument(0, "dim") or leaf.argument(0, "normalized_shape")
        own = {cls for cls, _ in dim.sources} == {leaf.key[0]} != {self.root.cls}
        fits = leaf.cls.rpartition(".")[2] in library.WIDE_NORMS and leaf.key in self.placed and len(leaf.args) <= 3
        return own and fits and len(dim.parts) == 1 and isinstance(size, Num) and self.exact(size.poly, dim.size)

    def attention(self, site: Site, tensors: list[Any], options: dict[str, Any], *, heads_first: bool) -> Tensor:
        """Attention on ``[B, S, H, D]``, or on ``[B, H, S, D]`` if ``heads_first``; the result has that order, too."""
        order = (0, 2, 1, 3) if heads_first else (0, 1, 2, 3)
        mask = options.get("attn_mask", Const(None))
        turned: list[Tensor] = []
        four = any(isinstance(x, Tensor) and len(x.dims or ()) == 4 for x in tensors)
        for x in tensors:
            if isinstance(x, Tensor) and x.dims is None and (four or not heads_first) and len(x.tail) <= 4:
                x = self.of_rank(x, 4)  # nothing else would be taken
            if not isinstance(x, Tensor) or x.dims is None or len(x.dims) != 4:
                self.facts.lost.setdefault(site, self.line)
                return self.unknown([*tensors, mask], "attention on tensors that are not known to be [B, S, H, D]", 4)
            turned.append(Tensor(tuple(x.dims[at] for at in order)))
        query, key, value = (x.dims or () for x in turned)
        self.demand((dim for x in (query, key, value) for dim in (*x[:2], x[3])), "attention needs whole heads")
        heads = [x[2] for x in (query, key, value)]
        if len({len(dim.parts) for dim in heads}) > 1 or len(heads[0].parts) > 1:
            self.demand(heads, "query, key and value are not sharded by heads alike")
        causal = options.get("is_causal", Const(False))
        if not (isinstance(causal, Const) and not causal.value):
            self.barrier((s for x in turned for s in x.streams), "attention is causal")
        if not (isinstance(mask, Const) and mask.value is None):
            self.demand(tensors_in([mask]), "an attention mask is whole")
            if isinstance(mask, Tensor) and len(mask.known) == 4 and mask.known[1].size == heads[0].size:
                self.demand(heads, "the attention mask differs from head to head")
            self.barrier((s for x in (*turned, *tensors_in([mask])) for s in x.streams), "attention has a mask")
        self.facts.attentions.append(
            AttentionFact(self.instance, self.line, site, turned[0], turned[1], turned[2], options)
        )
        return Tensor(tuple((*query[:3], value[3])[at] for at in order))

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
        if not isinstance(x, Tensor) or x.dims is None:
            return self.unknown((*args, *kwargs.values()), name)
        if not tables:
            self.barrier(x.streams, "the rows of the rotary table are not known to belong to the tokens")
        self.demand(x.dims[-1:], "rotary embedding needs whole heads")
        for table in tables:
            self.demand((table,), "a rotary table is whole")
            if table.dims is None:
                self.barrier(x.streams, "the rows of the rotary table are not known to belong to the tokens")
            elif x.dims[axis].streams or table.dims[0].streams:
                self.meet(replace(x.dims[axis], parts=()), table.dims[0])
        return Tensor(x.dims)
