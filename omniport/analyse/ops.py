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
from omniport.analyse.facts import Barrier, Decisions, Demand, Facts
from omniport.analyse.poly import ONE, RANKS, Poly
from omniport.analyse.shapes import (
    Dim,
    Either,
    Fields,
    Instance,
    Key,
    Leaf,
    Method,
    Num,
    Part,
    Seq,
    Tensor,
    modules_in,
)
from omniport.errors import UnsupportedError

_LENGTH = re.compile(r"len\((\w+)\)")  # the atom that stands for the length of a stream


#: Kinds of values that are tensors or hold some.
HOLD_TENSORS = frozenset({Tensor, Seq, Either, Fields, Method})


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """All tensors, those within tuples and lists included."""
    found: list[Tensor] = []
    for value in values:
        kind = type(value)
        if kind is Tensor:
            found.append(value)
        elif kind not in HOLD_TENSORS:
            continue
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
            for atom in sorted(value.poly.atoms) if isinstance(value, Num) else ():
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
        if not any("len(" in atom for atom in size.atoms):
            return size
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
        for atom in sorted(size.atoms & self.floors.keys()):
            rest = size.divide(Poly.of(atom))
            size = rest * self.floors[atom] if rest is not None else size
        return size

    def equal(self, a: Poly, b: Poly) -> bool:
        return a == b or self.canonical(a) == self.canonical(b)

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
        if self.ratios and len(a.parts) == len(b.parts) == 1 and a.size.quotient(b.size) in self.ratios:
            return a  # heads of queries, where there are as many of them as of keys
        if a.size is not b.size and str(b.size) < str(a.size):
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
