"""The first number of axes that leaves only other values in the way is taken, and blocks before parts of the tokens."""

from __future__ import annotations

from typing import Any

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.analyse.sequence import search
from omniport.plan.model import SpRegion
from omniport.source.tree import SourceTree

_attempt = search._attempt


def region(tree: SourceTree, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[SpRegion | None, list[Any]]:
    """The region of one class, and the places where one was looked for, a place for each attempt."""
    places: list[Any] = []

    def attempt(task: Any, place: Any, forms: Any) -> Any:
        places.append(place)
        return _attempt(task, place, forms)

    monkeypatch.setattr(search, "_attempt", attempt)
    found = plan_parallel(normalise(tree, tree.find_class(name, "models"), name).form, tree)
    return found.region, places


def trial(*unranked: str) -> search._Trial:
    return search._Trial((1, 1), tuple((label, "") for label in unranked))


def test_a_value_is_settled_where_others_are_in_the_way() -> None:
    assert trial("temb", "freqs").settles(("hidden",), 2)
    assert not trial("temb", "hidden").settles(("hidden",), 2)


def test_nothing_is_settled_where_nothing_unknown_is_in_the_way() -> None:
    assert not trial().settles(("hidden",), 2)


@pytest.mark.parametrize("form", [(2, 2), None, True, "first_frame_tokens"])
def test_only_a_number_of_axes_settles(form: Any) -> None:
    assert not trial("temb").settles(("hidden",), form)


def test_a_pair_that_settles_loses_the_region(diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "HunyuanImageTransformer2DModel"
    assert region(diffusers, name, monkeypatch)[0] is not None
    monkeypatch.setattr(search._Trial, "settles", lambda self, labels, form: bool(self.unranked))
    assert region(diffusers, name, monkeypatch)[0] is None


def test_few_forms_are_tried(diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    found, places = region(diffusers, "ZImageTransformer2DModel", monkeypatch)
    assert found is not None and len(places) < 12
    monkeypatch.setattr(search._Trial, "settles", lambda self, labels, form: False)
    again, more = region(diffusers, "ZImageTransformer2DModel", monkeypatch)
    assert again == found and len(more) > 3 * len(places)


def test_parts_of_the_tokens_come_last(diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    found, places = region(diffusers, "ZImageTransformer2DModel", monkeypatch)
    assert found is not None and {place.start for place in places} == {found.start}
    assert "the blocks in front of it have all their tokens" in found.why.reason
