"""The run of statements of the forward whose tokens are split: where it begins and ends, and what is split there."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from omniport.analyse.facts import AttentionFact, Barrier, Site
from omniport.analyse.ops import tensors_in
from omniport.analyse.sequence.liveness import asked_only, live, loads
from omniport.analyse.sequence.model import Keys, Part, Refused, Region, check_keys
from omniport.analyse.sequence.records import Seed
from omniport.analyse.sequence.walk import SequenceWalk
from omniport.analyse.shapes import Fields, Num, Opaque, Seq, Shape, Tensor
from omniport.source.nodes import each_node


class Reading:
    """What one walk says about the region that begins at ``start``."""

    def __init__(self, walk: SequenceWalk, start: int, kept: frozenset[Site]) -> None:
        self.walk, self.start, self.kept = walk, start, kept
        self.facts, self.traces = walk.facts, walk.record.traces
        self.blocked = 0
        self.passed = 0  # questions that are answered
        self.own_masks: set[Site] = set()  # attention calls whose mask is over the keys of a rank
        self.forward = walk.method_of(walk.root.cls, "forward").body
        self.met = len(self.forward)  # the statements in front of this one are what was refused, if any was

    def statement(self, barrier: int) -> int:
        """The statement that was walked when the ``barrier``-th barrier was found."""
        return max(at for at, trace in enumerate(self.traces) if trace.barriers <= barrier)

    def streams(self, tensor: Tensor) -> tuple[str, ...]:
        return self.walk.made_of(tensor.dims[1].streams) if tensor.dims else ()

    def region(self) -> Region:
        calls = self.facts.attentions[self.traces[self.start].attentions :] if self.start < len(self.traces) else []
        if not calls:
            raise Refused("the statements from here on are not followed", self.facts.line)
        last = max(at for at, trace in enumerate(self.traces) if trace.attentions < len(self.facts.attentions))
        split = self.split(calls, self.traces[last].attentions)
        end, gathered = self.ending(split, last, min(self.end(split, last), self.leaves(last), self.strange(last)))
        self.passed += 1
        parallel, local = self.modes(calls, split)
        self.passed += 1
        parts = [part for seed in self.walk.record.seeds if (part := self.part(seed, split, end))]
        self.nested(parts)
        masks = self.masks(split)
        self.passed += 1
        self.explained(parts, masks, end)
        self.understood(end)
        names = self.names(parts)

        def known(streams: tuple[str, ...]) -> tuple[str, ...]:
            if lost := [stream for stream in streams if stream not in names]:
                raise Refused(f"tokens of {lost[0].partition('__')[0]} are carried together with others only", line)
            return tuple(names[stream] for stream in streams)

        line = self.traces[self.start].line
        keys: Keys = {}
        for call in calls:
            whole = not set(self.streams(call.key)) & split
            places = keys.setdefault(call.site, {})
            made = frozenset({() if whole else known(self.streams(call.key))})
            places[place(call)] = places.get(place(call), frozenset()) | made
        check_keys(keys)
        return Region(
            self.start,
            end,
            line,
            tuple(replace(part, streams=known(part.streams)) for part in parts),
            tuple((name, dim, dims, known(streams)) for name, dim, dims, streams in gathered),
            tuple(replace(mask, streams=known(mask.streams)) for mask in masks),
            parallel,
            local,
            keys,
            tuple(self.walk.record.absent),
            self.counts(split, parts, end),
            frozenset(self.own_masks),
            frozenset(self.walk.record.causal),
            tuple(dict.fromkeys(self.walk.record.required)),
            tuple(self.walk.record.cuts),
            {s.label: len(s.tensor.dims) if s.tensor.dims is not None else None for s in self.walk.record.seeds},
            ahead=self.traces[self.start].attentions > 0,
        )

    def ending(
        self, split: frozenset[str], last: int, latest: int
    ) -> tuple[int, tuple[tuple[str, int, int, tuple[str, ...]], ...]]:
        """The last statement, up to ``latest``, in front of which all that is read behind it can be put together."""
        refused: Refused | None = None
        for end in range(latest, last, -1):
            try:
                return end, self.gathered(split, end)
            except Refused as error:
                refused = refused or error
        assert refused is not None
        raise refused

    def counts(self, split: frozenset[str], parts: list[Part], end: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Numbers that the region reads and that count tokens: each is to be that of a rank there."""
        read, found = self.read(self.start, end), []
        axes_split = {f"{part.seed.label}__{part.axis}" for part in parts}
        for name, axes in self.walk.record.counts.items():
            mine = [axis for axis in axes if set(self.walk.made_of((axis,))) & split]
            if name not in read or not mine:
                continue
            if len(mine) < len(axes) or not axes_split.issuperset(axes):
                raise Refused(f"{name} counts tokens that are split with others", self.traces[self.start].line)
            found.append((name, tuple(axis.rpartition("__")[0] for axis in axes)))
        return tuple(found)

    def explained(self, parts: list[Part], masks: tuple[Part, ...], end: int) -> None:
        """Raise unless values whose rank is guessed, and that may hold something for each token, are seen to do so."""
        known = {part.seed.label for part in (*parts, *masks)}
        attended = {name for call in self.facts.attentions for name in self.streams(call.key)}
        settled, asked = (set(self.walk.made_of(tuple(names))) for names in (self.walk.settled, self.walk.asked))
        read = self.read(self.start, end)
        for seed in self.walk.record.seeds:
            streams = {n for dim in seed.tensor.dims or () for n in self.walk.made_of(dim.streams)}
            unseen = seed.label not in known and not streams & attended and not (streams and streams <= settled - asked)
            unknown = seed.guessed or (seed.tensor.dims is None and not seed.place)
            if unknown and seed.tokens and unseen and seed.variable in read:
                self.blocked = len(self.facts.barriers)
                self.walk.record.unranked.append((seed.label, ""))
                raise Refused(f"the shape of {seed.variable} is not known", self.traces[self.start].line)

    def strange(self, last: int) -> int:
        """The first statement behind the attention calls that reads what a call made and nothing followed."""
        env = self.traces[self.start].env
        names = {name for name, value in env.items() if any("(" in text for text in _opaque(value))}
        behind = range(last + 1, len(self.forward))
        return next((at for at in behind if names & self.read(at, at + 1)), len(self.forward) - 1)

    def understood(self, end: int) -> None:
        """Raise where the region reads what a call made and nothing followed: a table may have a row for each token."""
        region = self.forward[self.start : end]
        read = live(region) - asked_only(region)
        for name, value in self.traces[self.start].env.items():
            if name in read and any("(" in text for text in _opaque(value)):
                raise Refused(f"what {name} holds is not followed", self.traces[self.start].line)

    def names(self, parts: list[Part]) -> dict[str, str]:
        """Each stream by the first value that carries it alone; one that is always given before others."""
        found = {
            stream: label
            for cut in self.walk.record.cuts
            for stream, label in zip(cut.streams, cut.labels, strict=True)
        }
        for part in sorted(parts, key=lambda part: (part.seed.optional, bool(part.seed.place))):
            if len(part.streams) == 1 and not part.samples:
                found.setdefault(part.streams[0], part.seed.label)
        return found

    def split(self, calls: list[AttentionFact], last: int) -> frozenset[str]:
        """The streams that the last attention calls mix, and all that share an axis with them."""
        mixing = [
            call
            for call in self.facts.attentions[last:]
            if self.streams(call.query) and set(self.streams(call.query)) <= set(self.streams(call.key))
        ]
        if not mixing:
            first = self.traces[self.start].barriers
            self.blocked = first
            tokens = {
                name
                for seed in self.walk.record.seeds
                if len(seed.tensor.dims or ()) > 2
                for dim in seed.tensor.dims or ()
                for name in self.walk.made_of(dim.streams)
            }
            for at, barrier in enumerate(self.facts.barriers[first:]):
                if self.touched(barrier, frozenset(tokens)):
                    raise self.in_the_way(first + at)  # what the tokens met first
            apart = calls and all(self.streams(call.query) and self.streams(call.key) for call in calls)
            reason = "no attention call mixes the tokens of the result"
            raise Refused(reason if apart else "the tokens of the attention calls are not followed", calls[-1].line)
        split = frozenset(name for call in mixing for name in self.streams(call.key))
        while True:
            grown = set(split)
            for call in calls:
                query, key = set(self.streams(call.query)), set(self.streams(call.key))
                for group in (query, key):
                    grown |= group if group & split else set()
                grown |= query if key & split else set()
            for whole, names in self.walk.makeup.items():
                parts = set(self.walk.made_of(names))
                grown |= parts if parts & split or whole in split else set()
            if grown == split:
                return split
            split = frozenset(grown)

    def in_the_way(self, at: int) -> Refused:
        """The refusal of the ``at``-th barrier: what the statements behind it do is in nobody's way."""
        self.blocked, self.met = at, self.statement(at) + 1
        return Refused(self.facts.barriers[at].reason, self.facts.barriers[at].line)

    def touched(self, barrier: Barrier, split: frozenset[str]) -> bool:
        return bool(set(self.walk.made_of(tuple(barrier.streams))) & split)

    def end(self, split: frozenset[str], last: int) -> int:
        """The first statement behind the attention calls that is not the same for each token."""
        for at, barrier in enumerate(self.facts.barriers):
            if self.touched(barrier, split):
                statement = self.statement(at)
                if statement < self.start:
                    continue
                if statement > last:
                    return statement
                raise self.in_the_way(at)
        self.blocked = len(self.facts.barriers)
        return len(self.traces) - 1

    def leaves(self, last: int) -> int:
        """The first statement behind the attention calls that may leave the forward."""
        for at in range(last + 1, len(self.forward)):
            if any(isinstance(node, ast.Return) for node in each_node(self.forward[at])):
                return at
        return len(self.forward) - 1

    def modes(self, calls: list[AttentionFact], split: frozenset[str]) -> tuple[frozenset[Site], frozenset[Site]]:
        """Attention calls that need the other ranks, and those that do not: their keys are whole."""
        self.blocked = len(self.facts.barriers)
        parallel: set[Site] = set()
        local: set[Site] = set()
        for call in calls:
            key, value = self.streams(call.key), self.streams(call.value)
            if key != value:
                raise Refused("keys and values of an attention call are not the same tokens", call.line)
            if set(key) & split:
                if call.site in self.kept:
                    raise Refused("an attention call that stays the reference's sees one rank's tokens only", call.line)
                parallel.add(call.site)
            else:
                local.add(call.site)
        if not parallel:
            raise Refused("no attention call mixes the tokens of the result", calls[-1].line)
        return frozenset(parallel), frozenset(local)

    def part(self, seed: Seed, split: frozenset[str], end: int) -> Part | None:
        axes = [
            (at, streams)
            for at, dim in enumerate(seed.tensor.dims or ())
            if set(streams := self.walk.made_of(dim.streams)) & split
        ]
        if not axes or seed.variable not in self.read(self.start, end):
            return None
        if len(seed.place) > 2 or (len(seed.place) == 2 and not all(isinstance(at, int) for at in seed.place)):
            raise Refused(f"{seed.variable} holds tuples of tuples of tokens", self.traces[self.start].line)
        if len(axes) > 1:
            raise Refused(f"{seed.variable} has an entry for each pair of tokens", self.traces[self.start].line)
        own = {name for dim in seed.tensor.dims or () for name in dim.streams}
        several = seed.guessed and not seed.place and bool(own & self.walk.asked)
        return Part(seed, *axes[0], sometimes=several, samples=self.samples(seed, axes[0][0]))

    def nested(self, parts: list[Part]) -> None:
        """Raise unless what is split of a tuple within a tuple is all of it, in one way."""
        for part in (part for part in parts if len(part.seed.place) > 1):
            variable, item = part.seed.variable, part.seed.place[0]
            beside = [s for s in self.walk.record.seeds if s.variable == variable and s.place[:1] == (item,)]
            alike = [p for p in parts if p.seed in beside and (p.axis, p.streams) == (part.axis, part.streams)]
            others = [p for p in parts if p.seed.variable == variable and p.seed not in beside]
            if len(alike) < len(beside) or others or len(part.streams) > 1:
                raise Refused(f"{variable} holds tuples of tuples of tokens", self.traces[self.start].line)

    def samples(self, seed: Seed, axis: int) -> str:
        """The number of samples that an axis merges with the tokens, "" if it holds tokens alone."""
        trace = self.traces[self.start]
        merged = self.walk.samples((seed.tensor.dims or ())[axis])
        if merged is None:
            return ""
        names = (name for name, value in trace.env.items() if isinstance(value, Num) and value.poly == merged)
        name = next(names, "")
        if not name or axis or seed.place or seed.optional:
            raise Refused(f"{seed.variable} merges samples and tokens in a way that is not followed", trace.line)
        return name

    def read(self, start: int, end: int | None = None) -> set[str]:
        """Names that statements read."""
        return set[str]().union(*map(loads, self.forward[start:end]))

    def gathered(self, split: frozenset[str], end: int) -> tuple[tuple[str, int, int, tuple[str, ...]], ...]:
        """Variables that carry split tokens and are read behind the region."""
        found = []
        env, line = self.traces[end].env, self.traces[end].line
        inside = self.read(self.start, end)
        for name in sorted(live(self.forward[end:])):
            value = env.get(name)
            if name in self.walk.record.counts and name not in inside and value == self.traces[self.start].env[name]:
                continue  # it stays the number that it was in front of the region
            if isinstance(value, Num | Opaque):
                text = str(value.poly) if isinstance(value, Num) else value.text
                lengths = {a for a in (f"len({s})" for s in self.known(split)) if a in text}
                if lengths:
                    raise Refused(f"{name} counts the tokens of a rank and is read behind the blocks", line)
            for tensor in tensors_in([value]):
                axes = [
                    (at, streams)
                    for at, dim in enumerate(tensor.dims or ())
                    if set(streams := self.walk.made_of(dim.streams)) & split
                ]
                if not axes:
                    continue
                if id(value) in self.walk.optional:
                    raise Refused(f"{name} may be absent and is read behind the blocks", line)
                cut = {stream for cut in self.walk.record.cuts for stream in cut.streams}
                if self.walk.samples((tensor.dims or ())[axes[0][0]]) is not None:
                    raise Refused(f"{name} merges samples and tokens behind the blocks", line)
                if tensor is not value or len(axes) > 1 or (len(axes[0][1]) > 1 and not cut.issuperset(axes[0][1])):
                    raise Refused(f"{name} holds several token axes behind the blocks", line)
                found.append((name, axes[0][0], len(tensor.dims or ()), axes[0][1]))
        if not found:
            raise Refused("no tokens are read behind the blocks", line)
        return tuple(found)

    def known(self, split: frozenset[str]) -> Iterable[str]:
        """All names that stand for a stream of ``split``."""
        names = {n for seed in self.walk.record.seeds for dim in seed.tensor.dims or () for n in dim.streams}
        return [name for name in names if set(self.walk.made_of((name,))) & split]

    def masks(self, split: frozenset[str]) -> tuple[Part, ...]:
        """Axes of masks over keys that are split: they stay whole, in the order in which the ranks hold the keys."""
        orders: dict[str, tuple[str, ...]] = {}
        axes = ((s, n) for s in self.walk.record.seeds for dim in s.tensor.dims or () for n in dim.streams)
        guessed = {name for seed, axis in axes if seed.guessed for name in self.walk.made_of((axis,))}
        for use in self.walk.record.masks:
            keys, queries = self.streams(use.call.key), self.streams(use.call.query)
            dims = use.mask.dims
            if not set(keys) & split:
                keys_alone = dims is not None and (len(dims) == 2 or (len(dims) == 4 and dims[2].one))
                if keys_alone:  # which every rank has
                    self.walk.settled |= use.mask.streams
                continue
            if dims and self.walk.made_of(dims[-1].streams) == keys:
                if not all(dim.one for dim in dims[1:-1]):
                    raise Refused("an attention mask made of tokens is not one over keys alone", use.line)
                self.own_masks.add(use.call.site)
                continue
            # attention takes masks of two axes to those of all: it is four that leave no doubt which axis is which
            if not dims or (len(dims) < 4 and guessed & set(self.walk.made_of(tuple(use.mask.streams)))):
                self.walk.missed([use.mask])
                raise Refused("the axes of an attention mask are not known", use.line)
            if len(dims) > 2 and dims[-2].one and self.walk.opened & set(self.walk.made_of(tuple(use.mask.streams))):
                raise Refused("the axes of an attention mask are not known", use.line)
            if use.call.site in self.own_masks:
                raise Refused("the masks of an attention call are not made alike", use.line)
            for dim, streams in zip(dims[-2:], (queries, keys), strict=True) if len(dims) > 2 else [(dims[-1], keys)]:
                if dim.one:
                    continue
                names = self.walk.made_of(dim.streams)
                if len(names) != 1 or names[0] in split:
                    raise Refused("an attention mask is not one over all tokens", use.line)
                if orders.setdefault(names[0], streams) != streams:
                    raise Refused("a mask serves keys of different make-up", use.line)
        attended = {name for call in self.facts.attentions for x in (call.query, call.key) for name in self.streams(x)}
        if orders.keys() & attended:
            raise Refused("an attention mask is made of tokens", self.walk.record.masks[0].line)
        found = []
        for seed in self.walk.record.seeds:
            for at, dim in enumerate(seed.tensor.dims or ()):
                names = self.walk.made_of(dim.streams)
                if len(names) == 1 and names[0] in orders and seed.variable in self.read(self.start, None):
                    found.append(Part(seed, at, orders[names[0]]))
        return tuple(found)


def place(call: AttentionFact) -> str:
    """Where the module that makes a call is constructed: the class that holds it, and the attribute."""
    owner = call.instance.owner
    return f"{owner.cls}.{call.instance.path}" if owner is not None else call.instance.cls


def _opaque(value: Any) -> list[str]:
    """The texts of the values in ``value`` that are not followed."""
    if isinstance(value, Seq):
        return [text for item in value.items for text in _opaque(item)]
    if isinstance(value, Fields):
        return [text for item in value.items.values() for text in _opaque(item)]
    return [value.text] if isinstance(value, Opaque) and not isinstance(value, Shape) else []
