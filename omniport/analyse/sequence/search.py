"""Finding the region: boundaries that are tried, and shapes that the walk does not show."""

from __future__ import annotations

import ast
import contextlib
import functools
import re
from dataclasses import field, replace
from typing import Any

from omniport.analyse import library
from omniport.analyse.facts import Decisions, Site
from omniport.analyse.sequence.checkpoint import Checkpoint
from omniport.analyse.sequence.closed import Several
from omniport.analyse.sequence.flags import flags_of
from omniport.analyse.sequence.kinds import kinds_of
from omniport.analyse.sequence.liveness import enclosed, live, mentioned
from omniport.analyse.sequence.model import Refused, Region, counted_alike, either, merged
from omniport.analyse.sequence.recalled import Recalled
from omniport.analyse.sequence.records import MANY, AllAttending, BlockedError, Form
from omniport.analyse.sequence.region import Reading
from omniport.analyse.sequence.walk import SequenceWalk
from omniport.analyse.shapes import Tensor
from omniport.records import dataclass
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

#: Cosines and sines for each of three axes, and the place of each token on them.
_PLACES: Form = (((2, 2), (2, 2), (2, 2)), (2, 2, 2))
#: What a value of unknown shape is tried as, the most frequent first: a pair of tables, a table, one with the batch in
#: front, one with heads.
_FORMS: dict[str, tuple[Form, ...]] = {
    "table": ((2, 2), 2, 3, (3, 3), 4, (4, 4), 5, 6),
    "optional": (None,),
    "given": (True,),
    "line": (2, 3),
    "list": (0, 3, 2, 4, 1),
    "packed": (2,),
    "": (2, 3, (2, 2), 4, (3, 3), (4, 4), 1, 0, 5, 6, _PLACES),
}
_STATEMENTS = 6000  # walked in the search over one model; those that have a region need 5000 at most
_WALKED = 1 << 20  # more than all statements: walks to the end reach further than those that something stopped
_UNKNOWN = re.compile(r"size \d+ at line (?!0\b)|rest@")  # sizes that no operation shows
_CHOICES = 2  # attributes of modules that are taken as set and as not set


@dataclass(frozen=True)
class _Task:
    """What is the same for all walks over one model."""

    normal: NormalForm
    source: SourceTree | None
    decided: Decisions
    kept: frozenset[Site]
    left: list[int]  # statements that may still be walked
    ranks: tuple[tuple[str, int], ...] = ()  # parameters of the forward that come with this rank
    kinds: tuple[tuple[str, int], ...] = ()  # and those that are tuples of so many tensors, 0 if tensors
    flags: tuple[tuple[str, bool], ...] = ()  # boolean parameters, and what they are
    settings: tuple[tuple[str, str], ...] = ()  # and what settings with a few values are
    hints: list[dict[str, Form]] = field(default_factory=list)  # what helped under other ranks and settings
    places: list[_Place] = field(default_factory=list)  # and where the region was found to begin
    built: dict[frozenset[tuple[str, int]], Checkpoint] = field(default_factory=dict)  # see :class:`SequenceWalk`
    recalled: dict[Any, Recalled] = field(default_factory=dict)  # calls of modules, see :class:`RecalledCalls`
    #: By what is assumed of conditions, and by statement: where a walk can go on from
    checkpoints: dict[frozenset[tuple[str, Form]], dict[int, Checkpoint]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """A boundary that is tried: the statement, the values that the blocks change, those of them that become the result,
    the last statement with attention, and the axis that is the batch."""

    start: int
    carriers: frozenset[str]
    primary: frozenset[str]
    last: int
    batch: int


def find_region(normal: NormalForm, source: SourceTree | None, decided: Decisions, kept: frozenset[Site]) -> Region:
    """The longest region that begins where attention on tokens of the result begins.

    Args:
        kept: attention calls that stay those of the reference, which know nothing of other ranks.

    Raises:
        Refused: there is none.
    """
    task = _Task(normal, source, decided, kept, [_STATEMENTS])
    forward = SequenceWalk(normal, source, decided, None).method_of(normal.root, "forward")
    kinds, flags = kinds_of(forward), flags_of(forward)
    task = replace(task, kinds=tuple((name, 0) for name in kinds), flags=tuple((name, False) for name in flags))
    others = [replace(task, left=[_STATEMENTS], kinds=((name, size),), checkpoints={}) for name, size in kinds.items()]
    others += [replace(task, left=[_STATEMENTS], flags=((name, True),), checkpoints={}) for name in flags]
    found = _of_all_settings(task)
    for other in others:
        found = either(found, _of_all_settings(other))
    return found


def _of_all_settings(task: _Task) -> Region:
    """The region for all values of the settings that the forward asks for."""
    try:
        return _of_all_ranks(task)
    except Several as setting:
        name, values = setting.name, setting.values
    given = (replace(task, left=[_STATEMENTS], settings=(*task.settings, (name, x)), checkpoints={}) for x in values)
    return functools.reduce(counted_alike, map(_of_all_settings, given))


def _of_all_ranks(task: _Task) -> Region:
    """The region for all ranks that parameters may have."""
    found, ranks = _region(task)
    for name, rank in ranks.items():
        other = replace(task, left=[_STATEMENTS], ranks=((name, rank),), checkpoints={})
        found = either(found, _region(other)[0])
    return found


def _region(task: _Task) -> tuple[Region, dict[str, int]]:
    """The region under one rank of each parameter, and the other ranks that the forward asks for."""
    if task.places and (known := _as_before(task, task.places[-1])) is not None:
        return known
    plain = _plain(task)
    traces = plain.record.traces
    ends = [*(trace.attentions for trace in traces[1:]), len(plain.facts.attentions)]
    starts = [at for at, trace in enumerate(traces) if ends[at] > trace.attentions]
    if not starts:
        raise Refused("no attention call of the forward is followed", plain.facts.line)
    body = plain.method_of(plain.root.cls, "forward").body
    ranks = _ranks(body)
    refused: Refused | None = None
    read = live(body[starts[-1] + 1 :])
    alive = {at: {name for name, value in traces[at].env.items() if isinstance(value, Tensor)} for at in starts}
    carried = {at: frozenset(alive[at] & _stored(body[at : starts[-1] + 1])) for at in starts}
    lists = [at for at in starts if isinstance(body[at], ast.For)]
    parts = [at for at in lists if not carried[at] & read]
    passed = list(parts)  # where blocks have all their tokens, if the region begins behind them
    end: int | None = None
    # lists of blocks before single modules with attention, such as refiners of the text, and those that change tokens
    # of the result before those that change the parts it is made of
    for start in sorted(starts, key=lambda at: (at not in lists, at in parts)):
        if end is not None and (start > end or start not in parts):
            continue  # it would leave blocks with all tokens, and has no more than they
        carriers, primary = carried[start], carried[start] & read
        # where the tokens of the result are not there yet, blocks most likely work on their parts
        part = task if primary else replace(task, left=[min(task.left[0], _STATEMENTS // 4)])
        spent = refused is not None and task.left[0] <= 0  # one more walk is made, which tells little
        for batch in (0, 1) if _turned(body[:start]) else (0,):
            place = _Place(start, carriers, primary, starts[-1], batch)
            try:
                found = _search(part, place)
                task.places.append(place)
                return replace(found, front=any(at < start for at in passed)), ranks
            except Refused as error:
                refused = refused if batch or spent else error
        behind = [at for at in lists if at > start]
        joined = bool(behind) and any(_others(traces[start].env[n], traces[behind[0]].env.get(n)) for n in primary)
        if primary & _stored(body[start : start + 1]) and start in lists and not joined:
            end = start
        passed += [start] if joined or not primary else []
    assert refused is not None
    raise refused


def _plain(task: _Task, until: int | None = None) -> SequenceWalk:
    """A walk that assumes nothing, as far as the statement ``until`` or the first attention of the last blocks."""
    walk = SequenceWalk(
        task.normal,
        task.source,
        task.decided,
        None,
        ranks=dict(task.ranks),
        kinds=dict(task.kinds),
        flags=dict(task.flags),
        settings=dict(task.settings),
        until=until,
        built=task.built,
        recalled=task.recalled if task.settings else None,  # else few calls of it are met again
    )
    with contextlib.suppress(AllAttending):
        walk.run()
    task.checkpoints[frozenset()] = walk.checkpoints
    return walk


def _as_before(task: _Task, place: _Place) -> tuple[Region, dict[str, int]] | None:
    """As :func:`_region` where other ranks or settings have their region, None if these have none there."""
    plain = _plain(task, place.start)
    body = plain.method_of(plain.root.cls, "forward").body
    alive = {name for name, value in plain.alive.items() if isinstance(value, Tensor)}
    carriers = frozenset(alive & _stored(body[place.start : place.last + 1]))
    if carriers != place.carriers or place.start not in plain.checkpoints:
        return None
    try:
        return _search(replace(task, left=list(task.left)), place), _ranks(body)
    except Refused:
        return None


def _others(before: Any, after: Any) -> bool:
    """Whether a value holds other tokens than before: their number is known, and another."""
    a, b = (x.known[1].size if isinstance(x, Tensor) and len(x.dims or ()) == 3 else None for x in (before, after))
    return a is not None and b is not None and a != b and not any(_UNKNOWN.match(atom) for atom in b.atoms)


def _ranks(body: list[ast.stmt]) -> dict[str, int]:
    """Parameters that the forward takes with another number of axes, too: ``timestep.ndim == 2``, and vectors that it
    flattens."""
    found = {}
    for call in (node for line in body for node in each_node(line) if isinstance(node, ast.Call)):
        owner = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "flatten" else None
        if isinstance(owner, ast.Name) and len(library.INPUTS.get(owner.id, "??")) == 1 and not call.args:
            found[owner.id] = 2
    for node in (node for line in body for node in each_node(line) if isinstance(node, ast.Compare)):
        left, right = node.left, node.comparators[0]
        if isinstance(left, ast.Attribute) and left.attr == "ndim" and isinstance(left.value, ast.Name):
            shape, rank = library.INPUTS.get(left.value.id), getattr(right, "value", None)
            if shape is not None and isinstance(rank, int) and rank != len(shape):
                found[left.value.id] = rank
    return found


def _turned(body: list[ast.stmt]) -> bool:
    """Whether the statements swap the first two axes of a tensor, as models do that keep the tokens in front."""
    calls = (node for line in body for node in each_node(line) if isinstance(node, ast.Call))
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr in ("transpose", "permute")
        and [getattr(arg, "value", None) for arg in call.args[:2]] in ([0, 1], [1, 0])
        for call in calls
    )


def _stored(body: list[ast.stmt]) -> set[str]:
    """Names that statements assign."""
    names = (name for node in body for name in each_node(node) if isinstance(name, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _search(task: _Task, place: _Place, given: dict[str, Form] | None = None) -> Region:
    """Try what the values of unknown shape may be until nothing is in the way."""
    for hint in task.hints if given is None else ():
        _, region = _attempt(task, place, hint)
        if not isinstance(region, Refused):
            return region
    forms = dict(given or {})
    best, found = _attempt(task, place, forms)
    while isinstance(found, Refused):
        refused = found
        # what was met last is most likely what is in the way
        labels = [(label, kind) for label, kind in dict.fromkeys(reversed(best.unranked)) if label not in forms]
        labels += [(label, "optional") for label in best.optional if label not in forms]
        labels.sort(key=lambda pair: len(best.alike(pair[0])) < 2)  # tables come in tuples, and are in the way first
        better = False
        trials = [(best.alike(label), form) for label, kind in labels for form in _FORMS[_kind(label, kind)]]
        trials += [((label,), form) for label, kind in labels if len(best.alike(label)) > 1 for form in _FORMS[kind]]
        trials = [((key,), form) for key, form in best.borders if key not in forms] + trials
        tables = {label for group in best.items for label in group}
        furthest: tuple[tuple[str, ...], dict[str, Form], _Trial, Region | Refused] | None = None
        for alike, form in dict.fromkeys(trials):
            if isinstance(form, tuple) and alike[0] in tables:
                continue  # a tuple within a tuple
            if form is _PLACES and alike[0] not in best.optional:
                continue  # callers give them, or the model computes tables of its own
            if task.left[0] <= 0 or (furthest is not None and furthest[0] != alike):
                break
            if best.idle(alike[0], form):
                task.left[0] -= best.walked  # as if it were tried
                continue
            tried = {**forms, **dict.fromkeys(alike, form)}
            trial, result = _attempt(task, place, tried)
            reach = best.reach if furthest is None else furthest[2].reach
            if (
                not isinstance(result, Refused)
                or trial.reach > reach
                or (not furthest and _explains(refused, result, form))
            ):
                furthest = (alike, tried, trial, result)
                if not isinstance(result, Refused) or _explains(refused, result, form) or trial.settles(alike, form):
                    break
        if furthest is not None:
            _, forms, best, found = furthest
            better = True
        if not better:
            choice = next((key for key in best.choices if key not in forms), None)
            if task.left[0] <= 0 or choice is None or sum(key.startswith("if ") for key in forms) >= _CHOICES:
                raise refused
            return merged(*(_search(task, place, {**forms, choice: value}) for value in (True, False)))
    if forms and given is None:
        task.hints.append(forms)
    return found


def _explains(before: Refused, after: Refused, form: Form) -> bool:
    """Whether what was not known before is known now, and something else is not."""
    if isinstance(form, str):
        return before.line != after.line  # where the tokens are cut is no longer in the way
    unknown = "the shape of "
    return before.reason.startswith(unknown) and after.reason.startswith(unknown) and before.reason != after.reason


def _kind(label: str, kind: str) -> str:
    if label.endswith(f"_{MANY}"):
        return "list"
    return "line" if label.startswith("line ") else kind


@dataclass(frozen=True)
class _Trial:
    reach: tuple[int, int]  # statements walked until the first thing in the way, and operations within them
    unranked: tuple[tuple[str, str], ...]
    optional: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()  # conditions on what modules have, those that are asked most first
    items: tuple[tuple[str, ...], ...] = ()  # labels of the items of one tuple whose ranks are not known

    borders: tuple[tuple[str, str], ...] = ()  # token axes that may be two streams, and the numbers that cut them
    walked: int = 0  # statements that were walked from the boundary on
    unmet: frozenset[str] = frozenset()  # labels of values that nothing mentions on the way to what is refused
    unread: frozenset[str] = frozenset()  # and that nothing mentions at all

    def idle(self, label: str, form: Form) -> bool:
        """Whether a value may have this form and all is refused as before."""
        return label in (self.unread if form is None or form is True else self.unmet)

    def settles(self, labels: tuple[str, ...], form: Form) -> bool:
        """Whether values have the number of axes that was tried: what is in the way now are others of unknown shape.

        Of a tuple that says nothing: it may be taken apart before anything asks what is in it.
        """
        return type(form) is int and bool(self.unranked) and not any(label in labels for label, _ in self.unranked)

    def alike(self, label: str) -> tuple[str, ...]:
        """The labels that are tried together: tables of one tuple have one rank."""
        return next((group for group in self.items if label in group), (label,))


def _attempt(task: _Task, place: _Place, forms: dict[str, Form]) -> tuple[_Trial, Region | Refused]:
    choices_made = frozenset(item for item in forms.items() if item[0].startswith("if "))
    known = task.checkpoints.setdefault(choices_made, {})
    walk = SequenceWalk(
        task.normal,
        task.source,
        task.decided,
        place.start,
        forms,
        place.carriers,
        place.primary,
        place.last,
        place.batch,
        dict(task.ranks),
        origin := known.get(place.start),
        dict(task.kinds),
        dict(task.flags),
        dict(task.settings),
        recalled=None if any(forms is hint for hint in task.hints) else task.recalled,  # these find it at once
    )
    body = walk.method_of(task.normal.root, "forward").body
    try:
        try:
            walk.run()
        finally:
            task.left[0] -= walk.steps - (origin.steps if origin is not None else 0)
            known |= walk.checkpoints
        reading = Reading(walk, place.start, task.kept)
        return _Trial((1 << 30, 0), ()), reading.region()
    except BlockedError as blocked:
        reach, refused = (blocked.steps, blocked.operations), Refused(blocked.reason, blocked.line)
        met = walked = len(walk.record.traces)
    except Refused as error:
        steps = walk.record.steps
        done = steps[reading.blocked] if reading.blocked < len(steps) else walk.steps
        reach, refused = (_WALKED * (1 + reading.passed) + done, 0), error
        met, walked = reading.met, len(body)
    optional = tuple(seed.variable for seed in walk.record.seeds if seed.optional and not seed.place)
    choices = tuple(sorted(walk.record.choices, key=lambda key: -len(walk.record.choices[key])))
    tuples: dict[str, list[str]] = {}
    for seed in walk.record.seeds:
        if len(seed.place) == 1 and seed.place != (MANY,) and seed.tensor.dims is None:
            tuples.setdefault(seed.variable, []).append(seed.label)
    items = tuple(tuple(group) for group in tuples.values())
    return _Trial(
        reach,
        tuple(walk.record.unranked),
        optional,
        choices,
        items,
        tuple(walk.record.borders),
        walk.steps - (known[place.start].steps if place.start in known else 0),
        _unnamed(walk, body[place.start : met]),
        _unnamed(walk, body[place.start : walked]),
    ), refused


def _unnamed(walk: SequenceWalk, body: list[ast.stmt]) -> frozenset[str]:
    """Labels of values at the boundary whose variables statements of the forward do not mention."""
    named = mentioned(body) | enclosed(walk.method_of(walk.root.cls, "forward").body)
    return frozenset(seed.label for seed in walk.record.seeds if seed.variable not in named)
