"""How many forwards of each denoiser a step of the loop makes, which cache-dit has to be told.

cache-dit counts forwards: with ``has_separate_cfg`` every second one belongs to the other branch of guidance, without
it each is a step.  Where a step makes one more now and then, all that follows is reused for the wrong branch, and
nothing raises.  So what is not one or two in every step of one loop is refused; where it is one or two as long as some
arguments of a request are at their defaults, the port refuses other values of these while there is a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import libcst as cst

from omniport.analyse.step_slice import slice_of
from omniport.analyse.step_values import StepValues, Value
from omniport.plan.model import PipelinePlan, Scalar, TransformerPlan
from omniport.plan.subjects import FORWARDS
from omniport.rewrite.pipeline.blocks import Block, Statement, inner_blocks, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind

ONE = "a step makes one forward"
TWO = "a step makes two forwards, one for each branch of guidance"
AGAIN = "the loop over steps runs again and again in one call: cache-dit renews what it keeps only between calls"
BESIDES = "forwards besides those of the steps{}: cache-dit counts each as one of a step"
SEVERAL = "a step makes up to {} forwards: cache-dit tells two apart"
UNLIKE = "steps make different numbers of forwards, by `{}`: cache-dit tells the branches apart by counting"
OTHER = "steps make different calls, by `{}`: what one keeps does not fit the other"
WITHIN = "a {} within a step runs the denoiser"
NONE = "no step makes a forward of the denoiser"
SIDES = "denoisers run differently often in a step ({}), and are of one class, which declares it once"


class Forwards(NamedTuple):
    """``number`` of forwards a step, None if a cache is refused, with the reason.

    What shows it: the condition ``at`` of the call, else the ``method``, else the denoiser's call number ``site``.
    ``needs`` are arguments with the values at which alone it is so; ``otherwise`` what happens at others.
    """

    number: int | None
    reason: str
    at: str = ""
    site: int = 0
    method: str = ""
    needs: tuple[tuple[str, Scalar], ...] = ()
    otherwise: str = ""


class _Refused(Exception):
    def __init__(self, reason: str, at: str = "", site: int = 0) -> None:
        self.found = Forwards(None, reason, at, site)


class _Site(NamedTuple):
    call: cst.Call
    loops: tuple[cst.For | cst.While, ...]
    guards: tuple[cst.BaseExpression, ...]


def count_forwards(
    entry: cst.FunctionDef,
    helpers: Iterable[cst.FunctionDef],
    denoisers: Denoisers,
    defaults: Mapping[str, Scalar] | None = None,
) -> Forwards:
    """What the loop of ``entry`` says, whose predictions are single calls.

    Args:
        helpers: the other methods.
        defaults: of the arguments of which a port may refuse other values while there is a cache.
    """
    names = denoisers.names(entry)
    for helper in helpers:
        if denoiser_calls(helper, denoisers.names(helper)):
            return Forwards(None, BESIDES.format(f", in {helper.name.value}"), method=helper.name.value)
    try:
        sites = list(_sites(suite(entry.body), names, (), ()))
        loop = _loop(sites)
    except _Refused as refusal:
        return refusal.found
    guards = {id(guard): guard for site in sites for guard in site.guards}
    if loop is not None:
        guards |= {id(guard): guard for guard in _ending(suite(loop.body))}
    part = None if loop is None else slice_of(entry, loop, list(guards.values()))

    def count(at: Mapping[str, Scalar]) -> tuple[Forwards, frozenset[str]]:
        values = None if loop is None or part is None else StepValues(entry, loop, part, at)
        return _count(suite(entry.body if loop is None else loop.body), values, sites)

    found, _ = count({})
    if found.number is not None or loop is None or not defaults:
        return found
    alike, by = count(defaults)
    if alike.number is None:
        return found
    needs = {name: value for name, value in defaults.items() if name in by}
    for name in list(needs):
        fewer = {n: v for n, v in needs.items() if n != name}
        if fewer and count(fewer)[0] == alike:
            needs = fewer
    return alike._replace(needs=tuple(needs.items()), otherwise=found.reason, at=found.at, site=found.site)


def _count(block: Block, values: StepValues | None, sites: Sequence[_Site]) -> tuple[Forwards, frozenset[str]]:
    """What a step makes, whose statements are ``block``, and on which defaults of arguments that rests."""
    counted = {n: _Counted(frozenset({n}), values) for n in _names(sites)}
    try:
        counts = {n: one.largest(block) for n, one in counted.items()}
    except _Refused as refusal:
        return refusal.found, frozenset()
    by = frozenset().union(*(one.by for one in counted.values()))
    if len(set(counts.values())) > 1:
        return Forwards(None, SIDES.format(", ".join(f"{n} {k}" for n, k in counts.items()))), by
    number = max(counts.values())
    if not number:
        return Forwards(None, NONE), by
    if number > 2:
        return Forwards(None, SEVERAL.format(number), site=len(sites) - 1), by
    each = f", each of {', '.join(counts)}" if len(counts) > 1 else ""
    return Forwards(number, (TWO if number == 2 else ONE) + each), by


def count_branches(conditions: int) -> Forwards:
    """The same where a guider object says which calls a step makes, at most ``conditions`` (0: not known)."""
    if not conditions:
        return Forwards(None, "how many forwards a step makes is up to the guider, and its class does not say")
    if conditions > 2:
        return Forwards(None, SEVERAL.format(conditions))
    return Forwards(conditions, (TWO if conditions == 2 else ONE) + ", as its guider says")


def cached_as_counted(plan: TransformerPlan, pipeline: PipelinePlan) -> TransformerPlan:
    """``plan`` without a cache where the pipeline's loop makes forwards that none can count."""
    loop = next((d for d in pipeline.decisions if d.subject == FORWARDS), None)
    if loop is None or loop.value is not None:
        return plan
    return replace(
        plan,
        blocks=tuple(replace(b, cache="") for b in plan.blocks),
        features=tuple(
            replace(f, supported=False, why=loop.why) if f.name == "cache-dit" and f.supported else f
            for f in plan.features
        ),
    )


def _names(sites: Sequence[_Site]) -> list[str]:
    return list(dict.fromkeys(dotted(site.call.func) or "" for site in sites))


def _sites(
    block: Block,
    names: frozenset[str],
    loops: tuple[cst.For | cst.While, ...],
    guards: tuple[cst.BaseExpression, ...],
) -> Iterable[_Site]:
    """The calls of denoisers, each with the loops and the conditions that it stands in."""
    for node in block:
        if not denoiser_calls(node, names):
            continue
        if isinstance(node, cst.SimpleStatementLine):
            for part in (part for kind in _UNCERTAIN for part in of_kind(node, kind)):
                if denoiser_calls(part, names):
                    raise _Refused(WITHIN.format(_UNCERTAIN[type(part)]), _text(part))
            yield from (_Site(call, loops, guards) for call in denoiser_calls(node, names))
            continue
        blocks = inner_blocks(node)
        if len(denoiser_calls(node, names)) > sum(len(denoiser_calls(block, names)) for block in blocks):
            raise _Refused(WITHIN.format(f"{_kind(node)}'s head" if blocks else _kind(node)))
        if isinstance(node, cst.For | cst.While):
            loops_inside, guards_inside = (*loops, node), guards
        else:
            loops_inside, guards_inside = loops, (*guards, *_tests(node))
        for block_inside in blocks:
            yield from _sites(suite(block_inside), names, loops_inside, guards_inside)


def _tests(node: Statement) -> Iterable[cst.BaseExpression]:
    """The conditions of ``if`` and each ``elif``."""
    branch: cst.CSTNode | None = node
    while isinstance(branch, cst.If):
        yield branch.test
        branch = branch.orelse


def _kind(node: Statement) -> str:
    return type(node).__name__.removesuffix("Def").lower()


def _ends(node: cst.CSTNode) -> bool:
    """Whether a statement of a step may end the step: by ``continue``, but of a loop within."""
    if isinstance(node, cst.SimpleStatementLine):
        return any(isinstance(small, cst.Continue) for small in node.body)
    if not isinstance(node, cst.If | cst.With | cst.Try):
        return False
    return any(_ends(inner) for block in inner_blocks(node) for inner in suite(block))


def _ending(block: Block) -> Iterable[cst.BaseExpression]:
    """The conditions of what may end a step."""
    for node in block:
        if isinstance(node, cst.If | cst.With | cst.Try) and _ends(node):
            yield from _tests(node)
            for part in inner_blocks(node):
                yield from _ending(suite(part))


def _loop(sites: Sequence[_Site]) -> cst.For | cst.While | None:
    """The one loop that all calls stand in; None if none stands in any."""
    if not sites:
        raise _Refused(NONE)
    innermost = [site.loops[-1] if site.loops else None for site in sites]
    steps = innermost[-1]
    for number, (site, loop) in enumerate(zip(sites, innermost, strict=True)):
        if loop is not steps:
            guard = _text(site.guards[0]) if site.guards else ""
            raise _Refused(BESIDES.format(f", if {guard}" if guard else ""), guard, number)
    if len(sites[-1].loops) > 1:
        raise _Refused(AGAIN)
    return steps


class _Numbers(NamedTuple):
    """How many forwards there may have been: where a step goes on behind a block, and where that has ended it."""

    going: frozenset[int]
    ended: frozenset[int] = frozenset()


class _Counted:
    """Counts the forwards of ``names`` over a block that is run once a step."""

    def __init__(self, names: frozenset[str], values: StepValues | None) -> None:
        self.names, self.values = names, values
        self.by: frozenset[str] = frozenset()

    def largest(self, block: Block) -> int:
        """The largest of the numbers that a run may have, each for all of its steps."""
        going, ended = self._numbers(block, begun=False, more=False)
        return max(going | ended, default=0)

    def _numbers(self, block: Block, *, begun: bool, more: bool) -> _Numbers:
        """What a block makes in a step that may have ``begun`` to make forwards, and make ``more`` behind it."""
        going, ended = frozenset({0}), frozenset[int]()
        for at, node in enumerate(block):
            if not going:
                break
            if denoiser_calls(node, self.names) or _ends(node) or _leaves(node):
                later = more or any(denoiser_calls(n, self.names) for n in block[at + 1 :])
                made = self._of(node, begun or any(going), later)
                ended |= {a + b for a in going for b in made.ended}
                going = frozenset(a + b for a in going for b in made.going)
        return _Numbers(going, ended)

    def _of(self, node: Statement, begun: bool, more: bool) -> _Numbers:
        if isinstance(node, cst.If):
            return self._either(node, begun, more)
        if isinstance(node, cst.With):
            return self._numbers(suite(node.body), begun=begun, more=more)
        if isinstance(node, cst.SimpleStatementLine):
            made = frozenset({len(denoiser_calls(node, self.names))})
            if _ends(node):
                return _Numbers(frozenset(), made)
            return _Numbers(frozenset() if _leaves(node) else made)  # what leaves the loop is no step like others
        raise _Refused(WITHIN.format(_kind(node)))

    def _either(self, node: cst.If, begun: bool, more: bool) -> _Numbers:
        test = Value() if self.values is None else self.values.test(node)
        self.by |= test.by
        if test.known and test.known[0]:
            return self._numbers(suite(node.body), begun=begun, more=more)
        orelse = _Numbers(frozenset({0}))
        if isinstance(node.orelse, cst.If):
            orelse = self._either(node.orelse, begun, more)
        elif node.orelse is not None:
            orelse = self._numbers(suite(node.orelse.body), begun=begun, more=more)
        if test.known:
            return orelse
        body = self._numbers(suite(node.body), begun=begun, more=more)
        if test.varies:
            calls = denoiser_calls(node, self.names)
            if calls or (begun and more and body.ended != orelse.ended):  # a step without any counts as none
                text = _text(node.test)
                raise _Refused((OTHER if calls and body == orelse else UNLIKE).format(text), text)
        return _Numbers(body.going | orelse.going, body.ended | orelse.ended)


#: What runs a call never, once or several times, and how it is named.
_UNCERTAIN: dict[type[cst.CSTNode], str] = {
    cst.Lambda: "lambda",
    cst.ListComp: "comprehension",
    cst.SetComp: "comprehension",
    cst.DictComp: "comprehension",
    cst.GeneratorExp: "comprehension",
    cst.IfExp: "conditional expression",
    cst.BooleanOperation: "boolean operation",
}


def _leaves(node: Statement) -> bool:
    """Whether a line always leaves the loop."""
    left = (cst.Break, cst.Return, cst.Raise)
    return isinstance(node, cst.SimpleStatementLine) and any(isinstance(small, left) for small in node.body)


def _text(node: cst.CSTNode) -> str:
    return " ".join(code(node).split())
