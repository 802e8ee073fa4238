"""What the region makes of a plan: entries of ``_sp_plan``, and attention layers that know of the other ranks."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from omniport.analyse.kept import kept_by_caller
from omniport.analyse.places import attention_sites
from omniport.analyse.sequence.model import Part, Refused, Region
from omniport.analyse.sequence.picked import picked
from omniport.analyse.sequence.records import MANY, Seed
from omniport.analyse.sequence.search import find_region
from omniport.analyse.tp import Sharding
from omniport.plan.model import AttentionPlan, FeaturePlan, SpCut, SpEntry, SpRegion, SpTensor, Why
from omniport.source.nodes import each_node, methods
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

NAME = "sequence parallelism"
SPLIT, GATHER = "sequence_split", "sequence_gather"


def plan_sequence(
    normal: NormalForm, source: SourceTree | None, sharding: Sharding
) -> tuple[SpRegion | None, tuple[SpEntry, ...], tuple[AttentionPlan, ...], FeaturePlan]:
    """The region, the entries of ``_sp_plan``, the attention layers, and whether sequence parallelism is supported."""

    def why(reason: str, line: int) -> Why:
        origin = normal.origin(line or sharding.facts.line)
        return Why(reason, origin.file, origin.line)

    module = normal.tree
    sites = attention_sites(module)
    kept = frozenset(
        sites[cls][int(number) - 1]
        for decision in sharding.decisions
        if decision.value == "reference" and decision.subject.startswith("attention call ")
        for number, _, cls in [decision.subject.removeprefix("attention call ").partition(" of ")]
    )
    root = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == normal.root)
    try:
        if (cache := kept_by_caller(methods(root)["forward"])) is not None:
            raise Refused(
                f"{cache.arg} keeps keys between calls, and a rank has those of its tokens only", cache.lineno
            )
        region = find_region(normal, source, sharding.decided, kept)
        # values of one stream first, then tables: the order in which the module at the start is given them
        parts = sorted(region.parts, key=lambda part: bool(part.seed.place) or len(part.streams) > 1)
        split = tuple(_tensor(part) for part in parts)
        gather = tuple(SpTensor(name, None, dim, dims, streams, False) for name, dim, dims, streams in region.gathered)
        masks = tuple(_tensor(part) for part in region.masks)
        forward = methods(root)["forward"]
        if given := lists(forward) & {tensor.variable for tensor in split if tensor.item is None}:
            raise Refused(f"{min(given)} is a list of tensors, each with tokens of its own", region.line)
        if lost := [name for name in region.absent if "rotary" in name]:
            # without the places of its tokens no published model is called
            raise Refused(f"how the tables of {lost[0]} are laid out is not known", region.line)
        cuts = tuple(SpCut(cut.variable, cut.axis, cut.number, cut.from_end, cut.labels) for cut in region.cuts)
        if not cuts and all(apart(tensor) or tensor.streams[1:] for tensor in split):
            raise Refused("no value that is always given carries one token stream alone", region.line)
        _check_ranks(module, region)
        layers = _layers(sharding.attentions, sites, kept, region)
    except Refused as found:
        refused = picked(module, sharding.facts) or found
        return None, (), sharding.attentions, FeaturePlan(NAME, False, why(refused.reason, refused.line))
    names = ", ".join(sorted({name for tensor in split for name in tensor.streams}))
    limits = f"; {', '.join(region.absent)} cannot be given" if region.absent else ""
    limits += "; the blocks in front of it have all their tokens on every rank" if region.front else ""
    reason = why(f"from here to the last block every operation acts token by token on {names}{limits}", region.line)
    planned = SpRegion(
        region.start,
        region.end,
        split,
        gather,
        masks,
        region.absent,
        reason,
        region.counts,
        region.required,
        cuts,
        region.ahead,
    )
    last = forward.body[region.end - 1]
    entries = (*_splits(planned), *_gathers(planned, last, why("the tokens are put together", last.lineno)))
    return planned, entries, layers, FeaturePlan(NAME, True, reason)


def _check_ranks(module: ast.Module, region: Region) -> None:
    """Raise if a module takes a value with one of several numbers of axes, and such values are split: which axis is
    that of the tokens is known for one of them only."""
    asked: dict[str, dict[int, int]] = {}
    for node in (node for node in each_node(module) if isinstance(node, ast.Compare)):
        left, right = node.left, node.comparators[0]
        left = left.func if isinstance(left, ast.Call) else left
        rank = getattr(right, "value", None)
        if not isinstance(left, ast.Attribute) or left.attr not in ("dim", "ndim") or not isinstance(rank, int):
            continue
        if isinstance(left.value, ast.Name):
            asked.setdefault(left.value.id, {})[rank] = node.lineno
    wide = any(len(p.seed.tensor.dims or ()) > 3 for p in region.parts if not p.seed.place and not p.sometimes)
    for name, ranks in asked.items():
        if len(ranks) > 1 and wide:
            counts = " or ".join(map(str, sorted(ranks)))
            raise Refused(
                f"{name} comes with {counts} axes: which is that of the tokens is not known", min(ranks.values())
            )


def lists(forward: ast.FunctionDef) -> set[str]:
    """Parameters that are lists, and that the forward never assigns to: by their annotation, or because without one
    it asks how many items they have."""
    calls = {ast.unparse(node) for node in each_node(forward) if isinstance(node, ast.Call)}
    found = {
        argument.arg
        for argument in (*forward.args.args, *forward.args.kwonlyargs)
        if (argument.annotation is not None and ast.unparse(argument.annotation).lower().startswith("list"))
        or (argument.annotation is None and f"len({argument.arg})" in calls)
    }
    names = (node for node in each_node(forward) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return found - {node.id for node in names}


def _tensor(part: Part) -> SpTensor:
    seed: Seed = part.seed
    item = seed.place[0] if seed.place else None
    inner = int(seed.place[1]) if len(seed.place) == 2 else None
    own = part.streams in ((seed.label,), (f"{seed.label}_first", f"{seed.label}_rest"))
    rank, broadcast = len(seed.tensor.dims or ()), part.single or (part.axis in seed.open and not own)
    if part.samples:
        return SpTensor(seed.variable, item, 1, rank + 1, part.streams, False, samples=part.samples)
    if part.sometimes:
        return SpTensor(seed.variable, item, part.axis, rank, part.streams, seed.optional, rank=rank)
    if seed.guessed:  # counted from the last: a batch in front changes nothing then
        return SpTensor(
            seed.variable, item, part.axis - rank, None, part.streams, seed.optional, broadcast, inner=inner
        )
    return SpTensor(seed.variable, item, part.axis, rank, part.streams, seed.optional, broadcast, inner=inner)


def _splits(region: SpRegion) -> Iterable[SpEntry]:
    """What the hooks shard: the results of the module at the start, and what may be absent module by module."""
    index = 0
    for tensor in region.split:
        if apart(tensor):
            why = replace(region.why, reason=f"one row of {tensor.variable} for each token, if it is given")
            entry = SpEntry(optional_module(tensor), "input", "split", tensor.dim, tensor.dims, False, True, why)
            if tensor.inner == 0 or (tensor.inner is None and tensor.item in (None, 0, MANY)):
                yield entry
            continue
        for stream in tensor.streams:
            why = replace(region.why, reason=f"one row of {tensor.variable} for each token of {stream}")
            yield SpEntry(SPLIT, index, "split", tensor.dim, tensor.dims, True, True, why, stream)
            index += 1


def apart(tensor: SpTensor) -> bool:
    """Whether a value is sharded by a module of its own: it may be absent, or one for all tokens, or is a list."""
    several = tensor.item == MANY or tensor.inner is not None
    return tensor.optional or tensor.broadcast or tensor.rank is not None or several


def optional_module(tensor: SpTensor) -> str:
    """The module that shards such a value."""
    return f"split_{tensor.variable}"


def _gathers(region: SpRegion, last: ast.stmt, why: Why) -> Iterable[SpEntry]:
    module = _called(last, region)
    parts = [(tensor, stream) for tensor in region.gather for stream in tensor.streams]
    for index, (tensor, stream) in enumerate(parts):
        yield SpEntry(module or GATHER, index, "gather", tensor.dim, tensor.dims, False, False, why, stream)


def _called(last: ast.stmt, region: SpRegion) -> str | None:
    """The module of the root whose result, assigned last, is what is gathered."""
    whole = len(region.gather) == 1 and len(region.gather[0].streams) == 1
    if not whole or not isinstance(last, ast.Assign) or not isinstance(last.value, ast.Call):
        return None
    function, target = last.value.func, last.targets[0]
    own = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "self"
    same = isinstance(target, ast.Name) and target.id == region.gather[0].variable
    return function.attr if own and same and isinstance(function, ast.Attribute) else None


def _layers(
    plans: tuple[AttentionPlan, ...],
    sites: dict[str, list[tuple[str, int, int]]],
    kept: frozenset[tuple[str, int, int]],
    region: Region,
) -> tuple[AttentionPlan, ...]:
    """The attention layers, each told whether it needs the other ranks, and which tokens its keys are.

    Raises:
        Refused: that depends on the module, and its class has several layers.
    """
    made = []
    left = {cls: [site for site in found if site not in kept] for cls, found in sites.items()}
    for plan in plans:
        site = left[plan.class_name].pop(0)
        places = region.keys.get(site, {})
        makeups = {next(iter(streams)) for streams in places.values()}
        local = makeups == {()} or (not makeups and plan.local)
        streams = next(iter(makeups)) if len(makeups) == 1 and site not in region.causal else ()
        several = tuple((place, next(iter(found))) for place, found in places.items()) if len(makeups) > 1 else ()
        if several and len(sites[plan.class_name]) > 1:
            raise Refused("one of several attention layers has keys that are others from module to module", site[1])
        made.append(replace(plan, local=local, streams=streams, own_mask=site in region.own_masks, key_streams=several))
    return tuple(made)
