"""A search goes on from the boundary: every attempt says what a walk from the start would say."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.analyse.poly import ONE
from omniport.analyse.sequence import search
from omniport.analyse.sequence.checkpoint import Checkpoint
from omniport.analyse.sequence.model import Refused, Region
from omniport.analyse.shapes import Closure, Instance, Num, Seq
from omniport.source.tree import SourceTree

_attempt = search._attempt


def said(result: tuple[Any, Region | Refused]) -> list[Any]:
    """What an attempt found, without the tensors, which are others in each walk."""
    trial, found = result
    if isinstance(found, Refused):
        return [trial, found.reason, found.line]
    parts = [(p.seed.label, p.axis, p.streams) for p in (*found.parts, *found.masks)]
    return [trial, parts, *(getattr(found, f.name) for f in fields(found) if f.name not in ("parts", "masks"))]


def differences(tree: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many attempts over one class went on from a checkpoint, and how many of them say something else."""
    counts = [0, 0]

    def both(task: Any, place: Any, forms: dict[str, Any]) -> Any:
        whole = said(_attempt(replace(task, checkpoints={}, left=[10**6]), place, dict(forms)))
        known = task.checkpoints.get(frozenset(i for i in forms.items() if i[0].startswith("if ")), {})
        resumed = place.start in known
        result = _attempt(task, place, forms)
        counts[0] += resumed
        counts[1] += resumed and said(result) != whole
        return result

    monkeypatch.setattr(search, "_attempt", both)
    plan_parallel(normalise(tree, tree.find_class(name, "models"), name).form, tree)
    return counts[0], counts[1]


@pytest.mark.parametrize(
    "name", ["HunyuanImageTransformer2DModel", "LTXVideoTransformer3DModel", "OmniGenTransformer2DModel"]
)
def test_an_attempt_goes_on_where_its_boundary_is(
    diffusers: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, different = differences(diffusers, name, monkeypatch)
    assert resumed and not different


def test_a_checkpoint_that_forgets_the_walk_s_records_is_noticed(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = Checkpoint.restore

    def forgetful(self: Checkpoint, walk: Any) -> Any:
        record = getattr(walk, "record", None)  # walks for widths have none
        env = restore(self, walk)
        if record is not None:
            walk.record = record
        return env

    monkeypatch.setattr(Checkpoint, "restore", forgetful)
    with pytest.raises((AssertionError, IndexError, Refused)):
        assert not differences(diffusers, "HunyuanImageTransformer2DModel", monkeypatch)[1]


def test_what_is_done_behind_the_boundary_is_undone() -> None:
    class Walk:
        def __init__(self) -> None:
            self.root = Instance("Root", attributes={"a": Num(ONE)})
            self.returns: list[list[Any]] = [[]]
            self.assumed, self.steps = "before", 5

    walk, held = Walk(), Seq([1])
    env: dict[str, Any] = {"x": held}
    env["f"] = Closure(None, env)
    kept = Checkpoint(3, walk, env, frozenset({"assumed"}))
    walk.steps += 2
    assert kept.steps == 5  # what a search was charged for already
    held.items.append(2)
    env["y"] = 1
    walk.root.attributes["b"] = Num(ONE)
    walk.returns[-1].append(held)
    walk.assumed = "behind"
    for _ in range(2):
        assert kept.restore(walk) is env
        assert held.items == [1] and env.keys() == {"x", "f"} and walk.root.attributes.keys() == {"a"}
        assert walk.returns == [[]] and walk.assumed == "behind"
        held.items.append(3)
        walk.returns[-1].append(held)
