"""Sequence parallelism: which tensors are split by tokens, where they are put together again, or why that cannot be.

The split streams are those that ever share a token axis with the result.  A rank holds a slice of each of them, and
wherever the model concatenates streams the rank concatenates its slices.  That is a permutation of the global sequence,
the same for queries, keys, values and rotary rows; attention without a mask does not see it, and every other operation
acts token by token.  Streams that serve as keys only stay whole.
"""

from __future__ import annotations

from collections.abc import Callable

from omniport.analyse.facts import Facts, RootCall
from omniport.analyse.ops import tensors_in
from omniport.analyse.shapes import Tensor
from omniport.plan.model import FeaturePlan, SpEntry, Why
from omniport.source.normal import NormalForm

NAME = "sequence parallelism"


class _Refused(Exception):
    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


def plan_sp(normal: NormalForm, facts: Facts) -> tuple[tuple[SpEntry, ...], FeaturePlan]:
    """Entries of ``_sp_plan``, and whether sequence parallelism is supported; no entries if it is not."""

    def why(reason: str, line: int) -> Why:
        origin = normal.origin(line or facts.line)
        return Why(reason, origin.file, origin.line)

    try:
        last = _end(facts)
        split = _split_streams(facts, last)
        _check(facts, split)
        entries = _entries(facts, split, last, why)
    except _Refused as refused:
        return (), FeaturePlan(NAME, False, why(refused.reason, refused.line))
    streams = ", ".join(sorted(split))
    return entries, FeaturePlan(NAME, True, why(f"every operation acts token by token on {streams}", last.line))


def _end(facts: Facts) -> RootCall:
    """The module call whose result is the result of the model."""
    outputs = {id(tensor) for tensor in facts.outputs}
    for call in reversed(facts.calls):
        if isinstance(call.output, Tensor) and id(call.output) in outputs and not call.repeated:
            if call.output.dims is None or not call.output.streams:
                raise _Refused(f"the tokens of {call.path}'s result are not followed", call.line)
            return call
    raise _Refused("the result of the model is not the result of one of its modules")


def _split_streams(facts: Facts, last: RootCall) -> frozenset[str]:
    """The streams of the result and all that ever share a token axis with them."""
    groups = [
        frozenset(facts.stream(name) for name in dim.streams)
        for call in facts.attentions
        for tensor in (call.query, call.key, call.value)
        for dim in tensor.dims or ()
        if dim.streams
    ]
    split = frozenset(facts.stream(name) for name in last.output.streams)
    while True:
        grown = split.union(*(group for group in groups if group & split))
        if grown == split:
            return split
        split = grown


def _check(facts: Facts, split: frozenset[str]) -> None:
    for barrier in facts.barriers:
        if {facts.stream(name) for name in barrier.streams} & split:
            raise _Refused(barrier.reason, barrier.line)
    acting = False
    for call in facts.attentions:
        query, key, value = (
            tuple(facts.stream(name) for name in tensor.dims[1].streams) if tensor.dims else ()
            for tensor in (call.query, call.key, call.value)
        )
        if key != value or not query:
            raise _Refused("the tokens of an attention call are not followed", call.line)
        if not set(query) & split:
            raise _Refused("attention over a stream that is not split would run on each rank alike", call.line)
        if set(key) & split and sorted(key) != sorted(query):
            raise _Refused("attention between different streams that are both split", call.line)
        acting |= bool(set(key) & split)  # over keys that are whole a rank attends with its own queries only
    if not acting:
        raise _Refused("no attention call mixes the tokens of the result")


def _entries(
    facts: Facts, split: frozenset[str], last: RootCall, why: Callable[[str, int], Why]
) -> tuple[SpEntry, ...]:
    carriers = {
        name: tensor
        for name, tensor in facts.inputs.items()
        if tensor.dims and {facts.stream(s) for s in tensor.streams} & split
    }
    boundary = _boundary(facts, carriers, frozenset(facts.stream(name) for name in last.output.streams))
    entries = []
    for name, tensor in carriers.items():
        assert tensor.dims is not None
        axis = next(i for i, dim in enumerate(tensor.dims) if dim.streams)
        if tensors_in(boundary.inputs.values())[0] is not tensor:
            reason = f"one row of {name} for each token of {facts.stream(name)}"
            entries.append(SpEntry("", name, "split", axis, len(tensor.dims), False, False, why(reason, facts.line)))
    dims = boundary.output.dims
    axis = next(i for i, dim in enumerate(dims) if dim.streams)
    reason = "split after the module: vLLM-Omni runs attention in parallel only behind a split_output hook"
    entries.append(SpEntry(boundary.path, 0, "split", axis, len(dims), True, False, why(reason, boundary.line)))
    dims = last.output.dims
    axis = next(i for i, dim in enumerate(dims) if dim.streams)
    reason = "the tokens of the result are put together"
    entries.append(SpEntry(last.path, 0, "gather", axis, len(dims), False, False, why(reason, last.line)))
    return tuple(entries)


def _boundary(facts: Facts, carriers: dict[str, Tensor], primary: frozenset[str]) -> RootCall:
    """The module that takes one carrier alone and gives one tensor: its result is split instead of the carrier.

    Of several, a side stream is taken before the one of the result: what runs in front of the split runs on all tokens.
    """
    candidates = []
    for call in facts.calls:
        if call.repeated or not isinstance(call.output, Tensor) or call.output.dims is None or not call.output.streams:
            continue
        sources = tensors_in(call.inputs.values())
        if len(sources) == 1 and any(sources[0] is tensor for tensor in carriers.values()):
            uses = [other for other in facts.calls if any(t is sources[0] for t in tensors_in(other.inputs.values()))]
            if len(uses) == 1:
                candidates.append(call)
    if not candidates:
        raise _Refused("no module of the model takes one token stream alone, so none can carry the split_output hook")
    return min(candidates, key=lambda call: bool({facts.stream(s) for s in call.output.streams} & primary))
