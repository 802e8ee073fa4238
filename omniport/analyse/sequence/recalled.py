"""Calls of modules that were followed before on values alike, in this walk or in another one over the same model.

A search walks one forward under many assumptions, and most modules of it see in each walk what they saw in the one
before.  What a call did is kept with what it was given: the axes of its tensors, which streams of them are one, and all
else that the rules ask for.  A call that is given the same does the same, and is not followed again.

What depends on more than that is followed each time: a call that writes into a module, compares lengths of axes that it
was not given, or finds where tokens are cut.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.facts import AttentionFact, Barrier, Site
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.closed import ClosedSettings
from omniport.analyse.sequence.described import PLAIN, Described
from omniport.analyse.sequence.packed_rows import RESHAPED
from omniport.analyse.sequence.records import MaskUse
from omniport.analyse.shapes import Dim, Fields, Instance, Seq, Tensor
from omniport.errors import UnsupportedError
from omniport.records import dataclass

_SERIAL = re.compile(r" of \d")
_CHANGES = frozenset({"append", "extend", "insert", "pop", "register_buffer", "register_parameter"})  # its owner


#: What a walk adds to as it goes and does not read itself: the owner, and the attribute.
_ADDED_TO = (
    *(("facts", name) for name in ("barriers", "attentions")),
    *(("record", name) for name in ("steps", "masks", "unranked", "causal", "choices")),
    *(("", name) for name in ("settled", "opened", "asked", "read")),
)
_FLAGS = ("tied", "weighing", "changing", "chosen")


class _Added:
    """What one call adds to the lists and sets of a walk, which has others for it until they are put together."""

    barriers: list[Barrier]
    attentions: list[AttentionFact]
    steps: list[int]  # of each barrier
    masks: list[MaskUse]
    unranked: list[tuple[str, str]]
    causal: set[Site]
    choices: dict[str, set[int]]
    settled: set[str]
    opened: set[str]
    asked: set[str]
    read: set[str]
    tied: bool
    weighing: bool
    changing: bool
    chosen: bool

    def __init__(self, walk: RecalledCalls) -> None:
        self.walk = walk
        self.places = [(vars(getattr(walk, owner) if owner else walk), name) for owner, name in _ADDED_TO]
        self.outer = [owner[name] for owner, name in self.places]
        for (owner, name), held in zip(self.places, self.outer, strict=True):
            owner[name] = type(held)()
        self.flags = [(name, getattr(walk, name)) for name in _FLAGS]
        walk.tied = walk.weighing = walk.changing = walk.chosen = False

    def put_together(self) -> None:
        """Give the walk its own lists and sets again, with what was added."""
        for (owner, name), held in zip(self.places, self.outer, strict=True):
            added = vars(self)[name] = owner[name]
            owner[name] = held
            if name == "choices":
                self.walk.choose(added)
            elif type(held) is list:
                held.extend(added)
            else:
                held.update(added)
        for name, before in self.flags:
            found = vars(self)[name] = getattr(self.walk, name)
            setattr(self.walk, name, found or before)
        del self.walk, self.places, self.outer, self.flags


@dataclass(frozen=True)
class Recalled:
    """What a call was given and what it did."""

    env: Env
    given: list[Any]  # the tensors, lists and dicts of it, in the order in which they are described
    several: list[bool] | None  # as described; None if nothing asked
    settings: dict[str, str] | None  # under which it was made; None if nothing asked
    names: tuple[Any, ...]  # what the walk knew of other modules
    first: int  # tensors of a lower serial were there before
    since: int  # statements that had been walked before
    result: Any
    added: _Added
    joined: dict[str, str]
    makeup: dict[str, tuple[str, ...]]
    unclear: dict[int, str]
    optional: dict[int, Any]
    assumed: dict[int, Tensor]
    ranked: list[int]  # which tensors of ``given`` have a rank that a condition asks for
    sized: dict[int, tuple[int, int]]  # by line: how many tensors of unknown sizes were made there before, and behind
    walked: int
    operations: int
    line: int  # of the statement that was walked last
    doubt: str | None


class RecalledCalls(ClosedSettings):
    """Keeps calls of modules, and recalls them."""

    recalled: dict[Any, Recalled] | None  # shared by the walks over one model
    weighing: bool  # whether it asks which tensors hold something for each token
    changing: bool  # whether it changes a list or a dict
    tied: bool  # whether what is being followed depends on more than what it was given
    written: bool  # whether the forward has written into a module
    settled: set[str]
    tested: set[int]
    steps: int
    own: int
    doubt: str | None
    search: Any
    last: int

    def run_module(self, module: Instance, env: Env) -> Any:
        if self.recalled is None or self.building or self.active or self.rotating or self.written:
            return super().run_module(module, env)
        described = Described(self, env.values())
        if not described.fits:
            return super().run_module(module, env)
        makeups = {name: self.made_of((name,)) for name in described.streams}
        forms = tuple(item for item in self.forms.items() if item[0].startswith(("if ", "line ")))
        given = (tuple(self.kinds.items()), tuple(self.flags.items()), forms)
        own = self.own if module.cls in self.imported else 0
        state = (self.loops > 0, self.undecided > 0, self.picked, self.doubt, bool(self.record.seeds), own)
        key = (id(module), tuple(env), tuple(described.parts), tuple(makeups.items()), state, given)
        found = self.recalled.get(key)
        alike = found is not None and found.settings in (None, self.settings)
        if found is not None and alike and found.several in (None, described.several) and self.applies(found):
            return self.recall(found, described.objects)
        result, done = self.followed(module, env, described, makeups)
        if done is not None:
            self.recalled[key] = done
        return result

    def known_names(self) -> tuple[Any, ...]:
        """What following a call may add to, and what names mean in it."""
        lengths = map(len, (self.imported, self.classes, self.functions, self.home, self.floors, self.kept.values))
        return (dict(self.imports), *lengths)

    def applies(self, found: Recalled) -> bool:
        """Whether a call of these arguments does here what it did: the streams that it made one are made one."""
        if found.names != self.known_names():
            return False
        if any(self.sized_at.get(line, 0) != before for line, (before, _) in found.sized.items()):
            return False
        self.facts.joined.update(found.joined)
        self.makeup.update(found.makeup)
        stops = bool(found.added.barriers) and len(self.record.traces) <= self.last + 1
        if not stops or not any(self.blocks(tuple(barrier.streams)) for barrier in found.added.barriers):
            return True
        for name in found.joined:
            del self.facts.joined[name]
        for name in found.makeup:
            del self.makeup[name]
        return False

    def followed(
        self, module: Instance, env: Env, described: Described, makeups: dict[str, tuple[str, ...]]
    ) -> tuple[Any, Recalled | None]:
        """The result of a call, and what it did if nothing else can make it do anything else."""
        first = Tensor(()).serial
        names, sized, steps, operations = self.known_names(), dict(self.sized_at), self.steps, self.operations
        tested = set(self.tested)
        growing: list[dict[Any, Any]] = [self.facts.joined, self.makeup, self.unclear, self.optional, self.assumed]
        lengths = list(map(len, growing))
        added = _Added(self)
        try:
            result = super().run_module(module, env)
        finally:
            added.put_together()
        if added.tied or self.written or names != self.known_names():
            return result, None
        grown = [dict(islice(held.items(), count, None)) for held, count in zip(growing, lengths, strict=True)]
        joined, makeup, unclear, optional, assumed = grown
        streams = {*makeups, *(name for made in makeups.values() for name in made)}
        alone = streams.issuperset(joined) and streams.issuperset(joined.values()) and streams.issuperset(makeup)
        fresh = all(serial >= first for serial in (*unclear, *assumed)) and all(
            x.serial >= first if type(x) is Tensor else type(x) in (Seq, Fields) and id(x) not in described.seen
            for x in optional.values()
        )
        made = [result, *(use.mask for use in added.masks)]
        asked = self.tested - tested
        ranked = [at for at, x in enumerate(described.objects) if type(x) is Tensor and x.serial in asked]
        own = asked - {described.objects[at].serial for at in ranked}  # which are gone when it ends
        alone = alone and (not own or (min(own) >= first and own.isdisjoint(x.serial for x in tensors_in(made))))
        if not alone or not fresh or not all(self.renewable(value, module) for value in made):
            return result, None
        if (added.changing or described.loose) and Described(self, env.values()).parts != described.parts:
            return result, None
        return result, Recalled(
            {"self": module, **env},
            described.objects,
            described.several if added.weighing else None,
            dict(self.settings) if added.chosen else None,
            names,
            first,
            steps,
            result,
            added,
            joined,
            makeup,
            unclear,
            optional,
            assumed,
            ranked,
            {line: (sized.get(line, 0), count) for line, count in self.sized_at.items() if sized.get(line, 0) != count},
            self.steps - steps,
            self.operations - operations,
            self.own,
            self.doubt,
        )

    def renewable(self, value: Any, module: Instance) -> bool:
        """Whether a result can be made anew: no module holds it, and no size of it names a tensor by its number."""
        kind = type(value)
        if kind is Seq or kind is Fields:
            items = value.items if kind is Seq else value.items.values()
            held = any(value is other for other in module.attributes.values())
            return not held and all(self.renewable(item, module) for item in items)
        if kind is Tensor:
            return not any(_SERIAL.search(dim.size._text) for dim in value.known)
        return kind in PLAIN and not _SERIAL.search(str(value))

    def recall(self, found: Recalled, given: list[Any]) -> Any:
        """Do what a call did, and give what it gave."""
        facts, record, added = self.facts, self.record, found.added
        new = {id(old): value for old, value in zip(found.given, given, strict=True)}
        facts.barriers.extend(added.barriers)
        facts.attentions.extend(added.attentions)
        record.steps += [self.steps + number - found.since for number in added.steps]
        record.masks += [MaskUse(use.call, self.renewed(use.mask, found, new), use.line) for use in added.masks]
        record.unranked += added.unranked
        record.causal |= added.causal
        self.choose(added.choices)
        self.settled |= added.settled
        self.opened |= added.opened
        self.asked |= added.asked
        self.read |= added.read
        self.weighing |= found.several is not None
        self.chosen |= found.settings is not None
        for line, (_, behind) in found.sized.items():
            self.sized_at[line] = behind
        self.tested.update(given[at].serial for at in found.ranked)
        self.steps += found.walked
        self.operations += found.operations
        self.own, self.doubt = found.line, found.doubt
        if self.search is not None and added.attentions:
            self.search.attended(len(record.traces) - 1)
        return self.renewed(found.result, found, new)

    def renewed(self, value: Any, found: Recalled, new: dict[int, Any]) -> Any:
        """``value`` with what was given now in the place of what was given then, and all that was made, made anew."""
        if id(value) in new:
            return new[id(value)]
        kind = type(value)
        made: Any
        if kind is Tensor:
            if value.serial < found.first:
                return value  # a module holds it
            made = Tensor(value.dims, value.tail, origins=value.origins)
            if (label := found.unclear.get(value.serial)) is not None:
                self.unclear[made.serial] = label
            if (known := found.assumed.get(value.serial)) is not None:
                self.assumed[made.serial] = known
        elif kind is Seq:
            made = Seq([self.renewed(item, found, new) for item in value.items], value.many)
        elif kind is Fields:
            made = Fields({key: self.renewed(item, found, new) for key, item in value.items.items()})
        else:
            return value
        new[id(value)] = made
        return self.maybe(made, id(value) in found.optional)

    def choose(self, choices: dict[str, set[int]]) -> None:
        for key, lines in choices.items():
            self.record.choices.setdefault(key, set()).update(lines)

    # ------------------------------------------------------------------------------ what depends on more, or does more
    def construct(self, instance: Instance, given: dict[str, Any]) -> None:
        self.tied = True
        super().construct(instance, given)

    def assign(self, target: ast.expr, value: Any, env: Env) -> None:
        if type(target) is ast.Attribute:
            self.write()
        elif type(target) is ast.Subscript:
            self.change(target.value)
        super().assign(target, value, env)

    def change(self, owner: ast.expr) -> None:
        """A list or dict is changed: one that the call was given or made itself, if a name stands for it."""
        self.changing = True
        if type(owner) is not ast.Name:
            self.write()

    def write(self) -> None:
        """Something may be written into a module."""
        self.tied = True
        self.written |= not self.building

    def give_up(self, node: ast.AST, env: Env, error: UnsupportedError) -> None:
        self.tied = True
        super().give_up(node, env, error)

    def call_method(self, method: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        if method.name in _CHANGES and type(method.base) is not Tensor:
            self.change(node.func.value if isinstance(node.func, ast.Attribute) else node.func)
        return super().call_method(method, args, kwargs, node)

    def kept_call(self, node: ast.Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
        kept = super().kept_call(node, args, kwargs)
        self.tied |= kept is not None
        return kept

    def of_tokens(self, x: Tensor) -> bool:
        self.weighing = True
        return super().of_tokens(x)

    def as_long(self, a: str, b: str) -> bool:
        self.tied |= bool(self.record.seeds)
        return super().as_long(a, b)

    def border(self, stream: str, front: Poly, back: Poly) -> None:
        self.tied |= bool(self.record.seeds)
        super().border(stream, front, back)

    def guessed(self, dims: tuple[Dim, ...]) -> set[str]:
        self.tied |= bool(self.record.seeds)
        return super().guessed(dims)

    def barrier(self, streams: Iterable[str], reason: str) -> None:
        self.tied |= reason == RESHAPED
        super().barrier(streams, reason)
