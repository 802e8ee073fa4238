"""The walk that looks for the blocks ends with the first attention of the last of them, and finds what it would."""

from __future__ import annotations

from typing import Any

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.analyse.sequence import search
from omniport.analyse.sequence.attending import Attending
from omniport.analyse.sequence.records import AllAttending
from omniport.source.tree import SourceTree

_plain, _attended = search._plain, Attending.attended


def found(tree: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch, attended: Any) -> tuple[list[Any], int]:
    """By walk that looks for blocks: the statements with attention; and how many statements all of them walked."""
    monkeypatch.setattr(Attending, "attended", attended)
    statements: list[Any] = []
    steps = 0

    def plain(task: Any, until: int | None = None) -> Any:
        nonlocal steps
        walk = _plain(task, until)
        ends = [*(trace.attentions for trace in walk.record.traces[1:]), len(walk.facts.attentions)]
        statements.append([at for at, trace in enumerate(walk.record.traces) if ends[at] > trace.attentions])
        steps += walk.steps
        return walk

    monkeypatch.setattr(search, "_plain", plain)
    plan = plan_parallel(normalise(tree, tree.find_class(name, "models"), name).form, tree)
    return [*statements, plan.region], steps


@pytest.mark.parametrize("name", ["FluxTransformer2DModel", "MotifVideoTransformer3DModel", "DiTTransformer2DModel"])
def test_the_blocks_are_those_of_the_whole_forward(
    diffusers: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, walked = found(diffusers, name, monkeypatch, lambda self, at: None)
    early, fewer = found(diffusers, name, monkeypatch, _attended)
    assert early == whole
    assert fewer < walked or name == "DiTTransformer2DModel"  # whose last statements read a module of the blocks


def test_a_walk_that_ends_with_the_first_blocks_is_noticed(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(self: Attending, at: int) -> None:
        raise AllAttending

    name = "MotifVideoTransformer3DModel"
    whole, _ = found(diffusers, name, monkeypatch, lambda self, at: None)
    assert found(diffusers, name, monkeypatch, at_once)[0] != whole
