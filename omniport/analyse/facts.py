"""What one walk over a normal form finds out, and the decisions it was walked under."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Instance, Key, Leaf, Tensor
from omniport.analyse.spelling import multiple
from omniport.errors import UnsupportedError
from omniport.plan.model import ConvRole
from omniport.records import dataclass

Site = tuple[str, int, int]  # class, line and column of a call in the normal form
Slice = tuple[str, str, str]  # class, called function ("" in arithmetic), text of the value
Whole = Literal["gathered", "scattered", "replicated"]


class UnfitError(UnsupportedError):
    """A call does not fit the parameters of what it calls: it is never made."""


class Demand(Exception):
    """A sharded value met an operation that needs its full width: the linears it comes from cannot stay columns."""

    def __init__(self, sources: frozenset[Key], reason: str, line: int, *, replicate: bool = False) -> None:
        super().__init__(reason)
        self.sources, self.reason, self.line, self.replicate = sources, reason, line, replicate


class Refine(Exception):
    """A column is split into parts: it has to be sharded part by part."""

    def __init__(self, key: Key, parts: tuple[Poly, ...]) -> None:
        super().__init__(key)
        self.key, self.parts = key, parts


class Localise(Exception):
    """A sharded width is cut into an explicit number of heads: on a rank there are fewer."""

    def __init__(self, cls: str, size: Poly, names: tuple[str, ...]) -> None:
        super().__init__(cls)
        self.cls, self.size, self.names = cls, size, names


@dataclass
class Decisions:
    """What earlier walks decided.  ``whole`` and ``kept`` only grow, and clear ``local`` of a class: walking ends."""

    whole: dict[Key, tuple[Whole, str, int]] = field(default_factory=dict)  # role, reason, line
    parts: dict[Key, tuple[Poly, ...]] = field(default_factory=dict)
    units: dict[Key, tuple[Poly, Poly]] = field(default_factory=dict)  # equal parts: size, number by a condition
    local: dict[tuple[str, str], Poly] = field(default_factory=dict)  # class, attribute: a head count, over all ranks
    kept: set[tuple[str, str]] = field(default_factory=set)  # class, attribute: used for something else, too

    def take_back(self, key: Key, demand: Demand, facts: Facts) -> None:
        """A linear that cannot be a column: gathered if it computes one vector per sample, scattered if it stands alone
        between two streams of whole tokens in a repeated block, else replicated."""
        fact = facts.linears.get(key)
        role: Whole = "replicated"
        if fact is not None and key not in facts.plain and not demand.replicate:
            if fact.vector or not fact.token_sized:
                role = "gathered"
            elif demand.sources == {key} and fact.lone and not fact.rows and not multiple(fact.width, fact.features):
                role = "scattered" if "softmax" not in demand.reason else role  # a choice that rounding may change
        self.whole[key] = (role, demand.reason, demand.line)
        for local in [local for local in self.local if local[0] == key[0]]:
            del self.local[local]


@dataclass
class LinearFact:
    """One linear of a class, over all its instances and calls."""

    line: int  # of its construction
    width: Poly
    features: Poly
    rows: tuple[Poly, ...] = ()  # part sizes of its sharded input, empty if the input is whole
    row_sources: frozenset[Key] = frozenset()
    token_sized: bool = False
    vector: bool = False  # whether a use of its result shows that it has two dimensions
    lone: bool = False  # whether it stands in a repeated block, in a class that calls no attention
    calls: int = 0  # how often it was called, the call that is being followed included
    inputs: list[int] = field(default_factory=list)  # serial of the input tensor, call by call
    lines: list[int] = field(default_factory=list)


@dataclass
class NormFact:
    """One norm over a sharded width."""

    kind: str
    sources: frozenset[Key]
    line: int


@dataclass
class ConvFact:
    """One convolution that the ranks share: its role, and the equal parts that its channels are sharded in."""

    role: ConvRole
    line: int
    parts: int
    sources: frozenset[Key]  # that its input was sharded by


@dataclass
class AttentionFact:
    """One call of the attention function."""

    instance: Instance
    line: int
    site: Site
    query: Tensor
    key: Tensor
    value: Tensor
    options: dict[str, Any]


@dataclass
class Barrier:
    """An operation that mixes, counts or orders tokens: its streams cannot be sharded by sequence."""

    streams: frozenset[str]
    reason: str
    line: int


@dataclass
class RootCall:
    """A module call in the forward of the root, in order of execution."""

    path: str
    inputs: dict[str, Any]  # by parameter; by position for modules outside the normal form
    output: Any
    line: int
    repeated: bool


@dataclass
class Facts:
    """Everything a walk records."""

    linears: dict[Key, LinearFact] = field(default_factory=dict)
    attentions: list[AttentionFact] = field(default_factory=list)
    given_up: dict[tuple[str, int], str] = field(default_factory=dict)  # file and line: construct not followed
    plain: dict[Key, int] = field(default_factory=dict)  # layers whose parameters the forward reads itself: line
    convs: dict[Key, ConvFact] = field(default_factory=dict)
    norms: dict[Key, NormFact] = field(default_factory=dict)  # norms over a width that is sharded by heads
    heads: dict[Poly, int] = field(default_factory=dict)  # numbers of heads that a sharded width is cut into: line
    widths: set[Poly] = field(default_factory=set)  # sharded widths that a reshape is given
    sized: set[Key] = field(default_factory=set)  # layers whose sizes a constructor reads
    whole_heads: dict[tuple[str, str], int] = field(default_factory=dict)  # class, expression over all heads: line
    lost: dict[Site, int] = field(default_factory=dict)  # attention on tensors of unknown rank: line
    slices: dict[Slice, tuple[int, int]] = field(default_factory=dict)  # whole values that are cut: dimension, line
    cut_for: dict[Slice, list[Tensor]] = field(default_factory=dict)  # what they meet
    uncut: set[Slice] = field(default_factory=set)  # and those that are used as they are
    choices: dict[str, tuple[Poly, ...]] = field(default_factory=dict)  # a number that is one of several: these
    barriers: list[Barrier] = field(default_factory=list)
    calls: list[RootCall] = field(default_factory=list)
    instances: dict[str, list[Instance]] = field(default_factory=dict)
    layers: list[Leaf] = field(default_factory=list)  # all linears that the constructors make
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)
    #: class, condition on a number of axes, line: what it was in each call, and what its tensor is computed from
    axis_tests: dict[tuple[str, str, int], set[tuple[bool | None, frozenset[str]]]] = field(default_factory=dict)
    line: int = 0  # of the forward of the root
    joined: dict[str, str] = field(default_factory=dict)  # union-find over streams

    def stream(self, name: str) -> str:
        """The representative of the streams that were found to be the same tokens."""
        while self.joined.get(name, name) != name:
            name = self.joined[name]
        return name

    def same(self, a: str, b: str) -> None:
        """Two streams walk in step: row i of one belongs to token i of the other."""
        a, b = self.stream(a), self.stream(b)
        if a != b:
            self.joined[b] = a
