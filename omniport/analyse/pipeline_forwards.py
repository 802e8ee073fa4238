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
from omniport.plan.model import FORWARDS, PipelinePlan, Scalar, TransformerPlan
from omniport.rewrite.pipeline.blocks import Block, Statement, inner_blocks, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls
from omniport.source.syntax import code, dotted

ONE = "a step makes one forward"
TWO = "a step makes two forwards, one for each branch of guidance"
AGAIN = "the loop over steps runs again and again in one call: cache-dit renews what it keeps only between calls"
BESIDES = "forwards besides those of the steps{}: cache-dit counts each as one of a step"
SEVERAL = "a step makes up to {} forwards: cache-dit tells two apart"
UNLIKE = "steps make different numbers of forwards, by `{}`: cache-dit tells the branches apart by counting"
OTHER = "steps make different calls, by `{}`: what one keeps does not fit the other"
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
    sites = list(_sites(suite(entry.body), names, (), ()))
    try:
        loop = _loop(sites)
    except _Refused as refusal:
        return refusal.found
    guards = {id(guard): guard for site in sites for guard in site.guards}
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
    number = max(counts.values(), default=0)
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
            yield from (_Site(call, loops, guards) for call in denoiser_calls(node, names))
            continue
        if isinstance(node, cst.For | cst.While):
            loops_inside, guards_inside = (*loops, node), guards
        else:
            loops_inside, guards_inside = loops, (*guards, *_tests(node))
        for part in inner_blocks(node):
            yield from _sites(suite(part), names, loops_inside, guards_inside)


def _tests(node: Statement) -> Iterable[cst.BaseExpression]:
    """The conditions of ``if`` and each ``elif``."""
    branch: cst.CSTNode | None = node
    while isinstance(branch, cst.If):
        yield branch.test
        branch = branch.orelse


def _loop(sites: Sequence[_Site]) -> cst.For | cst.While | None:
    """The one loop that all calls stand in; None if none stands in any."""
    innermost = [site.loops[-1] if site.loops else None for site in sites]
    steps = innermost[-1]
    for number, (site, loop) in enumerate(zip(sites, innermost, strict=True)):
        if loop is not steps:
            guard = _text(site.guards[0]) if site.guards else ""
            raise _Refused(BESIDES.format(f", if {guard}" if guard else ""), guard, number)
    if len(sites[-1].loops) > 1:
        raise _Refused(AGAIN)
    return steps


class _Counted:
    """Counts the forwards of ``names`` over a block that is run once a step."""

    def __init__(self, names: frozenset[str], values: StepValues | None) -> None:
        self.names, self.values = names, values
        self.by: frozenset[str] = frozenset()

    def largest(self, block: Block) -> int:
        """The largest of the numbers that a run may have, each for all of its steps."""
        return max(self._numbers(block))

    def _numbers(self, block: Block) -> frozenset[int]:
        found = frozenset({0})
        for node in block:
            if denoiser_calls(node, self.names):
                more = self._of(node)
                found = frozenset(a + b for a in found for b in more)
        return found

    def _of(self, node: Statement) -> frozenset[int]:
        if isinstance(node, cst.If):
            return self._either(node)
        if isinstance(node, cst.With):
            return self._numbers(suite(node.body))
        if isinstance(node, cst.SimpleStatementLine):
            return frozenset({len(denoiser_calls(node, self.names))})
        raise _Refused(f"a {type(node).__name__.lower()} statement within a step runs the denoiser")

    def _either(self, node: cst.If) -> frozenset[int]:
        test = Value() if self.values is None else self.values.test(node)
        self.by |= test.by
        if test.known and test.known[0]:
            return self._numbers(suite(node.body))
        orelse = frozenset({0})
        if isinstance(node.orelse, cst.If):
            orelse = self._either(node.orelse)
        elif node.orelse is not None:
            orelse = self._numbers(suite(node.orelse.body))
        if test.known:
            return orelse
        body = self._numbers(suite(node.body))
        if test.varies:
            text = _text(node.test)
            raise _Refused((OTHER if body == orelse else UNLIKE).format(text), text)
        return body | orelse


def _text(node: cst.CSTNode) -> str:
    return " ".join(code(node).split())
