"""The region whose tokens are split, and one region for several configurations."""

from __future__ import annotations

from dataclasses import field, replace

from omniport.analyse.facts import Site
from omniport.analyse.sequence.records import Cut, Seed
from omniport.records import dataclass

#: By attention call, and by the place of the module that makes it: the streams that its keys are, none if whole.
Keys = dict[Site, dict[str, frozenset[tuple[str, ...]]]]


class Refused(Exception):
    """No region, since ``reason`` at ``line`` of the normal form."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


@dataclass(frozen=True)
class Part:
    """A seed that is split: along which axis, and the streams that its rows belong to, in order."""

    seed: Seed
    axis: int
    streams: tuple[str, ...]
    sometimes: bool = False  # with other inputs the value has another rank and holds nothing for each token
    single: bool = False  # with other inputs it has one row for all tokens
    samples: str = ""  # the axis merges so many samples and their tokens


@dataclass(frozen=True)
class Region:
    """Statements ``start`` to ``end`` (not included) of the forward run on a rank's share of the tokens."""

    start: int
    end: int
    line: int
    parts: tuple[Part, ...]
    gathered: tuple[tuple[str, int, int, tuple[str, ...]], ...]  # variable, axis, rank, streams
    masks: tuple[Part, ...]  # axes of masks that are all keys, in the order of the streams
    parallel: frozenset[Site]
    local: frozenset[Site]
    keys: Keys = field(default_factory=dict)  # attention calls: what the keys are in each module that makes them
    absent: tuple[str, ...] = ()
    counts: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # numbers that count tokens of a rank here: the seeds that have them
    own_masks: frozenset[Site] = frozenset()  # attention calls whose mask is over the keys of a rank
    causal: frozenset[Site] = frozenset()  # attention calls that do not see what pads their keys
    required: tuple[str, ...] = ()  # optional values that have to be given
    cuts: tuple[Cut, ...] = ()  # token axes that are two streams
    ranks: dict[str, int | None] = field(default_factory=dict)  # of all values at the start
    ahead: bool = False  # attention is called in front of it
    front: bool = False  # blocks in front of it have all their tokens on every rank, fewer than those of the region


def _seen(parts: tuple[Part, ...]) -> set[tuple[str, int, tuple[str, ...]]]:
    return {(part.seed.label, part.axis, part.streams) for part in parts}


def check_keys(keys: Keys) -> None:
    """A layer is told once which tokens its keys are.

    Raises:
        Refused: they are others from call to call.
    """
    for site, places in keys.items():
        for makeups in places.values():
            if () in makeups and len(makeups) > 1:
                raise Refused("one attention layer has keys that are split and keys that are whole", site[1])
            if len(makeups) > 1:
                raise Refused("the keys of one attention layer are tokens of different make-up", site[1])


def merged(a: Region, b: Region) -> Region:
    """One region for two configurations.

    Raises:
        Refused: they are not split alike.
    """
    parts = {part.seed.label: part for part in (*a.parts, *b.parts)}
    for part in (*a.parts, *b.parts):
        other = parts[part.seed.label]
        if (part.axis, part.streams) != (other.axis, other.streams):
            raise Refused(f"how {part.seed.variable} is split depends on the configuration", a.line)
    if (a.start, a.end, a.gathered) != (b.start, b.end, b.gathered) or _seen(a.masks) != _seen(b.masks):
        raise Refused("where tokens are split depends on the configuration", a.line)
    if a.cuts != b.cuts:
        raise Refused("where the tokens are cut depends on the configuration", a.line)
    counts = dict((*a.counts, *b.counts))
    if any(counts[name] != labels for name, labels in (*a.counts, *b.counts)):
        raise Refused("what a number counts depends on the configuration", a.line)
    keys: Keys = {}
    for region in (a, b):
        for site, places in region.keys.items():
            found = keys.setdefault(site, {})
            for place, makeups in places.items():
                found[place] = found.get(place, frozenset()) | makeups
    check_keys(keys)
    return replace(
        a,
        parts=tuple(parts.values()),
        parallel=a.parallel | b.parallel,
        local=a.local | b.local,
        keys=keys,
        ahead=a.ahead or b.ahead,
        absent=tuple(dict.fromkeys((*a.absent, *b.absent))),
        counts=tuple(counts.items()),
        own_masks=a.own_masks | b.own_masks,
        causal=a.causal | b.causal,
        required=tuple(dict.fromkeys((*a.required, *b.required))),
    )


def counted_alike(a: Region, b: Region) -> Region:
    """One region for two settings: an axis that is the same counted from the last is known by that."""
    first = {part.seed.label: part for part in (*a.parts, *a.masks)}

    def counted(part: Part, other: Part | None) -> Part:
        ranks = [len(p.seed.tensor.dims or ()) for p in (part, other or part)]
        if other is None or ranks[0] == ranks[1] or part.axis - ranks[0] != other.axis - ranks[1]:
            return part
        return replace(other, seed=replace(other.seed, guessed=True))

    second = {part.seed.label: part for part in (*b.parts, *b.masks)}
    changed = {label: counted(part, first.get(label)) for label, part in second.items()}
    moved = {label: part for label, part in changed.items() if part is not second[label]}
    a, b = (
        replace(region, parts=tuple(moved.get(part.seed.label, part) for part in region.parts)) for region in (a, b)
    )
    return merged(a, b)


def either(a: Region, b: Region) -> Region:
    """One region for inputs of two ranks: what is split with one of them only is known by its own rank."""
    labels = [{part.seed.label for part in region.parts} for region in (a, b)]
    common, extra = labels[0] & labels[1], labels[0] ^ labels[1]
    both = [replace(r, parts=tuple(p for p in r.parts if p.seed.label in common)) for r in (a, b)]
    joined = merged(*both)
    parts = []
    for part in (part for part in (*a.parts, *b.parts) if part.seed.label in extra):
        same = a.ranks.get(part.seed.label) == b.ranks.get(part.seed.label)
        parts.append(replace(part, sometimes=not same, single=same))
    return replace(joined, parts=(*joined.parts, *parts))
