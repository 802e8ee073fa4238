"""A form of a value that nothing mentions on the way to a refusal is not tried: trying it would tell nothing new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.analyse.sequence import search
from omniport.analyse.sequence.model import Refused
from omniport.source.tree import SourceTree

_attempt, _idle = search._attempt, search._Trial.idle


def skipped(tree: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch, idle: Any) -> tuple[int, int]:
    """How many forms of one class ``idle`` says nothing of, and how many of them change what is refused."""
    at: dict[int, tuple[Any, ...]] = {}
    counts = [0, 0]

    def attempt(task: Any, place: Any, forms: dict[str, Any]) -> Any:
        given = dict(forms)
        trial, result = _attempt(task, place, forms)
        at[id(trial)] = (task, place, given, result, trial)
        return trial, result

    def checked(trial: Any, label: str, form: Any) -> bool:
        found = bool(idle(trial, label, form))
        if found:
            task, place, forms, before, _ = at[id(trial)]
            tried = {**forms, **dict.fromkeys(trial.alike(label), form)}
            other, after = _attempt(replace(task, left=[10**6], checkpoints={}), place, tried)
            alike = isinstance(after, Refused) and (after.reason, after.line) == (before.reason, before.line)
            counts[0] += 1
            counts[1] += not (alike and other.reach == trial.reach)
        return found

    monkeypatch.setattr(search, "_attempt", attempt)
    monkeypatch.setattr(search._Trial, "idle", checked)
    plan_parallel(normalise(tree, tree.find_class(name, "models"), name).form, tree)
    return counts[0], counts[1]


@pytest.mark.parametrize("name", ["HiDreamImageTransformer2DModel", "MotifVideoTransformer3DModel"])
def test_what_is_not_tried_changes_nothing(diffusers: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    idle, different = skipped(diffusers, name, monkeypatch, _idle)
    assert idle > 3 and not different


def test_a_form_that_is_skipped_though_blocks_read_it_is_noticed(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, different = skipped(diffusers, "ChromaTransformer2DModel", monkeypatch, lambda trial, label, form: True)
    assert different
