"""A walk goes on where a decision first mattered, and comes to what a walk from the start comes to."""

from __future__ import annotations

from typing import Any

import pytest

from omniport.analyse.facts import Facts, LinearFact
from omniport.analyse.normalise import normalise
from omniport.analyse.poly import ONE
from omniport.analyse.resume import ResumedWalk, Saved
from omniport.analyse.sequence.checkpoint import Checkpoint
from omniport.analyse.shapes import Instance
from omniport.analyse.tp import infer
from omniport.errors import UnsupportedError
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

NAMES = ["FluxTransformer2DModel", "HiDreamImageTransformer2DModel", "LTXVideoTransformer3DModel"]


def form(tree: SourceTree, name: str) -> NormalForm:
    return normalise(tree, tree.find_class(name, "models"), name).form


def planned(normal: NormalForm, tree: SourceTree) -> list[Any]:
    """What is inferred, and the statements that were walked for it."""
    steps = 0
    follow = ResumedWalk.follow

    def counted(self: ResumedWalk, node: Any, env: Any) -> bool:
        nonlocal steps
        steps += 1
        return follow(self, node, env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumedWalk, "follow", counted)
        found = infer(normal, tree)
    parts = (found.linears, found.attentions, found.weights, found.decisions, found.slices, found.convs)
    return [steps, *parts]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_walk_decides_as_one_from_the_start(
    diffusers: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    normal = form(diffusers, name)
    steps, *resumed = planned(normal, diffusers)
    monkeypatch.setattr(Saved, "holds", lambda self, decisions: False)
    all_steps, *whole = planned(normal, diffusers)
    assert resumed == whole
    assert steps < 0.8 * all_steps


def test_going_on_behind_what_a_decision_changes_is_noticed(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    normal = form(diffusers, NAMES[1])
    monkeypatch.setattr(Saved, "holds", lambda self, decisions: True)
    with pytest.raises(UnsupportedError):
        planned(normal, diffusers)


def test_counts_of_a_layer_are_those_of_the_checkpoint() -> None:
    class Held:
        def __init__(self) -> None:
            self.root, self.steps = Instance("Root"), 0
            self.returns: list[list[Any]] = [[]]
            self.facts = Facts(linears={("A", "b"): LinearFact(1, ONE, ONE, calls=1, inputs=[3])})

    walk = Held()
    kept = Checkpoint(0, walk, {}, frozenset())
    for _ in range(2):
        fact = walk.facts.linears["A", "b"]
        fact.calls += 1
        fact.inputs.append(4)
        kept.restore(walk)
        found = walk.facts.linears["A", "b"]
        assert (found.calls, found.inputs) == (1, [3])
