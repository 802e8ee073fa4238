"""What a walk over split tokens records, and the forms that values of unknown shape are tried as."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.facts import AttentionFact, Site
from omniport.analyse.shapes import Tensor
from omniport.records import dataclass

#: What a value of unknown rank may be: a tensor of that rank, a tuple of tensors or of tuples, absent (an
#: optional argument), whether an attribute is set, or the number that cuts a token axis in two ("-n": from the end).
Form = int | tuple[Any, ...] | bool | str | None


class BlockedError(Exception):
    """Something is in the way of the result's tokens before the last attention call: the rest need not be walked."""

    def __init__(self, reason: str, line: int, steps: int, operations: int) -> None:
        super().__init__(reason)
        self.reason, self.line, self.steps, self.operations = reason, line, steps, operations


class AllAttending(Exception):
    """Every statement of the forward that attends has done so: the rest need not be walked."""


MANY = -1  # the place of each item of a list of unknown length


@dataclass
class Trace:
    """What one top-level statement of the forward did: ends of the records when it began, and the values then alive."""

    line: int
    env: Env
    barriers: int
    attentions: int


@dataclass(frozen=True)
class Cut:
    """A token axis of a seed that is two streams, one on each side of a place that a number of the forward counts to.

    ``streams`` are the axes that the two are named by; ``from_end``: the number counts the tokens behind the place.
    """

    variable: str
    axis: int
    number: str
    from_end: bool
    streams: tuple[str, str]

    @property
    def labels(self) -> tuple[str, str]:
        return self.streams[0].rpartition("__")[0], self.streams[1].rpartition("__")[0]


@dataclass
class Seed:
    """A tensor that is alive at the boundary: the variable, its place within a tuple, and the name of each axis."""

    variable: str
    place: tuple[int | str, ...]
    tensor: Tensor
    optional: bool
    open: frozenset[int] = frozenset()  # axes that may have one row for all tokens
    guessed: bool = False  # its rank is one that nothing speaks against
    tokens: bool = False  # it may hold something for each token
    changed: bool = False  # the blocks change it, and nothing else tells its rank

    @property
    def label(self) -> str:
        return "_".join([self.variable, *map(str, self.place)])


@dataclass(frozen=True)
class MaskUse:
    """A mask of an attention call, and where in the port that call is."""

    call: AttentionFact
    mask: Tensor
    line: int


@dataclass
class Record:
    traces: list[Trace] = field(default_factory=list)
    seeds: list[Seed] = field(default_factory=list)
    masks: list[MaskUse] = field(default_factory=list)
    causal: set[Site] = field(default_factory=set)  # calls over one stream that see no key behind the query
    steps: list[int] = field(default_factory=list)  # barrier by barrier: how many statements were walked before
    choices: dict[str, set[int]] = field(default_factory=dict)  # conditions on attributes of modules, and their lines
    absent: list[str] = field(default_factory=list)  # optional values that the region is planned without
    required: list[str] = field(default_factory=list)  # optional values that the region is planned with
    counts: dict[str, tuple[str, ...]] = field(default_factory=dict)  # numbers that are lengths of seeds' axes
    cuts: list[Cut] = field(default_factory=list)  # axes that are taken for two streams
    borders: list[tuple[str, str]] = field(default_factory=list)  # axes that are cut, and the numbers, as forms
    unranked: list[tuple[str, str]] = field(default_factory=list)  # seeds of unknown rank that were used, and as what
