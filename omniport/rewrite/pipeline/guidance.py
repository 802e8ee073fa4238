"""The call of a pipeline with its guidance in the target's form; analysis and rewriting share one result."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import indented, suite
from omniport.rewrite.pipeline.both import reaches_denoiser
from omniport.rewrite.pipeline.branches import branched
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls
from omniport.rewrite.pipeline.hoist import hoisted
from omniport.rewrite.pipeline.liveness import drop_dead_stores
from omniport.rewrite.pipeline.narrowed import narrowed
from omniport.rewrite.pipeline.normal import parameter_names
from omniport.rewrite.pipeline.pair import Pair, PairForm
from omniport.rewrite.pipeline.split import Split
from omniport.rewrite.pipeline.split_late import LateSplit
from omniport.rewrite.pipeline.split_parts import chunked, doubled, joined, only_doubles, sides
from omniport.rewrite.pipeline.walk import calls
from omniport.source.walk import of_kind

#: Names of a helper's parameter that say whether guidance is on.
FLAGS = ("do_classifier_free_guidance", "do_cfg")
FLAG_ATTRIBUTE = "self.do_classifier_free_guidance"


@dataclass(frozen=True)
class Guided:
    """``entry`` with its pairs formed; ``single`` counts the denoiser calls that stay as they are.

    ``apart`` counts guarded predictions beside a pair that one call makes.  ``branches``: a guider object says how many
    calls a round makes, and all of them are one call of the mixin.
    """

    entry: cst.FunctionDef
    pairs: tuple[Pair, ...]
    single: int
    branches: bool = False
    apart: int = 0


@functools.lru_cache(maxsize=16)
def guided(entry: cst.FunctionDef, denoisers: Denoisers) -> Guided:
    """``entry`` with every pair of predictions as one call."""
    if (found := branched(entry, denoisers)) is not None:
        return Guided(found, (), 0, branches=True)
    entry = narrowed(entry, denoisers)
    form = PairForm(entry, denoisers)
    block = form.block(suite(entry.body))
    return Guided(
        entry.with_changes(body=indented(block, entry.body)), tuple(form.pairs), form.single, apart=form.apart
    )


def split(
    entry: cst.FunctionDef, helpers: tuple[cst.FunctionDef, ...], denoisers: Denoisers, place: tuple[str, int]
) -> cst.FunctionDef:
    """``entry`` with the doubled batch in two; ``place`` is the file and line that a refusal names.

    Raises:
        UnsupportedError: no rule proves the split; the message says what stands in the way.
    """
    try:
        return _split(entry, helpers, denoisers)
    except UnsupportedError as refusal:
        raise refusal if refusal.file else UnsupportedError(refusal.construct, *place) from None


@functools.lru_cache(maxsize=16)  # the plan and the port ask for the same one
def _split(entry: cst.FunctionDef, helpers: tuple[cst.FunctionDef, ...], denoisers: Denoisers) -> cst.FunctionDef:
    names = denoisers.names(entry)
    flags, joining = _flags(helpers)
    if any(calls(entry, f"self.{name}") for name in joining):
        new = LateSplit(entry, {*flags, *joining}, names).run()
    else:
        new = Split(entry, flags, names).run()
    return new.with_changes(body=indented(drop_dead_stores(hoisted(suite(new.body), names)), new.body))


def doubled_for_denoiser(entry: cst.FunctionDef, helpers: tuple[cst.FunctionDef, ...], denoisers: Denoisers) -> bool:
    """Whether what the call doubles reaches a denoiser."""
    flags, joining = _flags(helpers)
    return reaches_denoiser(suite(entry.body), {*flags, *joining}, denoisers.names(entry))


def _flags(helpers: tuple[cst.FunctionDef, ...]) -> tuple[Mapping[str, tuple[int, str]], frozenset[str]]:
    """Helpers whose guidance flag only doubles -> position and name of the flag; and those that join sides inside."""
    found: dict[str, tuple[int, str]] = {}
    joining = set()
    for method in helpers:
        parameters = parameter_names(method)
        for flag in (*FLAGS, FLAG_ATTRIBUTE):
            verdict = only_doubles(method, flag)
            if verdict is None:
                continue
            if verdict and flag in parameters:
                found[method.name.value] = (parameters.index(flag), flag)
            else:
                joining.add(method.name.value)
    return found, frozenset(joining)


def _joined_below(node: cst.If) -> bool:
    """Whether a branch joins two sides, lists included."""
    for statement in suite(node.body):
        small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if isinstance(small, cst.Assign) and sides(small.value) is not None:
            return True
    return False


def doubling(entry: cst.FunctionDef, denoisers: Denoisers) -> bool:
    """Whether the call doubles a batch for guidance or halves a prediction."""
    names = denoisers.names(entry)
    if not denoiser_calls(entry, names):
        return False
    if any(_joined_below(node) for node in of_kind(entry, cst.If)):
        return True
    assigned = of_kind(entry, cst.Assign)
    if any(isinstance(n.targets[0].target, cst.Tuple) and chunked(n.value) is not None for n in assigned):
        return True
    called = (node for node in of_kind(entry, cst.Call) if joined(node) is not None)
    return any(doubled(node, False) is not None or sides(node) is not None for node in called)
