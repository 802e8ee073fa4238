"""A call that is recalled does what following it does."""

from __future__ import annotations

from typing import Any

import pytest

from omniport.analyse.dataflow import Walk
from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.analyse.sequence import recalled
from omniport.analyse.sequence.described import Described
from omniport.analyse.sequence.recalled import Recalled, RecalledCalls
from omniport.analyse.shapes import Fields, Seq, Tensor
from omniport.source.tree import SourceTree

_recall, _applies = RecalledCalls.recall, RecalledCalls.applies


def alike(value: Any, given: dict[int, int], found: Recalled) -> Any:
    """A value as it is compared: what was given by its place, what was made by all that is known of it."""
    if id(value) in given:
        return given[id(value)]
    if isinstance(value, Tensor) and value.serial < found.first:
        return id(value)
    if isinstance(value, Tensor):
        known = (found.unclear.get(value.serial), id(value) in found.optional, value.serial in found.assumed)
        return (value.dims, value.tail, value.origins, known)
    if isinstance(value, Seq | Fields):
        items = value.items if isinstance(value, Seq) else value.items.values()
        return (type(value), id(value) in found.optional, [alike(item, given, found) for item in items])
    return value


def did(found: Recalled) -> list[Any]:
    """What a call did, without the tensors, which are others each time."""
    given = {id(value): at for at, value in enumerate(found.given)}
    added = found.added
    return [
        alike(found.result, given, found),
        [(b.streams, b.reason, b.line) for b in added.barriers],
        [number - found.since for number in added.steps],
        [(call.site, call.line, call.query.dims, call.key.dims, call.value.dims) for call in added.attentions],
        [(use.line, use.call.site, alike(use.mask, given, found)) for use in added.masks],
        (added.causal, added.unranked, added.choices, added.settled, added.opened, added.asked, added.read),
        (found.joined, found.makeup, found.sized, found.ranked, found.settings),
        (found.walked, found.operations, found.line, found.doubt),
    ]


def compared(tree: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many calls of one class are recalled, and how many of them do something else when they are followed."""
    counts, current = [0, 0], list[Any]()
    run_module = RecalledCalls.run_module

    def run(walk: Any, module: Any, env: Any) -> Any:
        current.append((module, env))
        try:
            return run_module(walk, module, env)
        finally:
            current.pop()

    def applies(walk: Any, found: Recalled) -> bool:
        joined, makeup = dict(walk.facts.joined), dict(walk.makeup)
        holds = _applies(walk, found)
        for held, kept in ((walk.facts.joined, joined), (walk.makeup, makeup)):
            held.clear()
            held.update(kept)
        return holds

    def recall(walk: Any, found: Recalled, given: list[Any]) -> Any:
        module, env = current[-1]
        described = Described(walk, env.values())
        makeups = {stream: walk.made_of((stream,)) for stream in described.streams}
        result, done = walk.followed(module, env, described, makeups)
        counts[0] += 1
        counts[1] += done is None or did(done) != did(found)
        return result

    monkeypatch.setattr(RecalledCalls, "run_module", run)
    monkeypatch.setattr(RecalledCalls, "applies", applies)
    monkeypatch.setattr(RecalledCalls, "recall", recall)
    plan_parallel(normalise(tree, tree.find_class(name, "models"), name).form, tree)
    return counts[0], counts[1]


@pytest.mark.parametrize(
    "name",
    ["Lumina2Transformer2DModel", "LTX2VideoTransformer3DModel", "CosmosTransformer3DModel", "WanTransformer3DModel"],
)
def test_a_recalled_call_does_what_following_it_does(
    diffusers: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, different = compared(diffusers, name, monkeypatch)
    assert calls > 5 and not different


def test_calls_under_another_setting_are_noticed(diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = Recalled

    def forgetful(*parts: Any) -> Any:
        return kind(*parts[:3], None, *parts[4:])

    monkeypatch.setattr(recalled, "Recalled", forgetful)
    _, different = compared(diffusers, "LTX2VideoTransformer3DModel", monkeypatch)
    assert different


def test_calls_told_apart_by_their_modules_alone_are_noticed(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(Described):
        def __init__(self, walk: Any, values: Any) -> None:
            super().__init__(walk, values)
            self.parts = [len(self.objects)]

    monkeypatch.setattr(recalled, "Described", Blind)
    _, different = compared(diffusers, "Lumina2Transformer2DModel", monkeypatch)
    assert different


@pytest.mark.parametrize(("writes", "recalled_again"), [(True, False), (False, True)])
def test_a_call_that_writes_into_its_module_is_followed_each_time(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch, writes: bool, recalled_again: bool
) -> None:
    again = set()
    run_module = Walk.run_module

    def run(walk: Any, module: Any, env: Any) -> Any:
        if writes and module.cls == "LuminaFeedForward" and isinstance(walk, RecalledCalls):
            walk.write()
        return run_module(walk, module, env)

    def recall(walk: Any, found: Recalled, given: list[Any]) -> Any:
        again.add(found.env["self"].cls)
        return _recall(walk, found, given)

    monkeypatch.setattr(Walk, "run_module", run)
    monkeypatch.setattr(RecalledCalls, "recall", recall)
    name = "Lumina2Transformer2DModel"
    plan_parallel(normalise(diffusers, diffusers.find_class(name, "models"), name).form, diffusers)
    assert ("LuminaFeedForward" in again) is ("Lumina2TransformerBlock" in again) is recalled_again
    assert again  # what came before the write is recalled
