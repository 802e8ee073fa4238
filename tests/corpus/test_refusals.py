"""A number of ranks that a model cannot be shared by has to end in its own message."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from omniport.corpus import refusals  # noqa: E402
from omniport.corpus.refusals import unclear_refusals  # noqa: E402

pytestmark = pytest.mark.verify


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The tensor-parallel group that layers read."""
    state = pytest.importorskip("vllm.distributed.parallel_state")
    made = SimpleNamespace(world_size=1, rank_in_group=0)
    monkeypatch.setattr(state, "get_tp_group", lambda: made)
    return made


def refuse(number: int, size: int, works: list[int]) -> None:
    if size % number:
        raise ValueError(
            f"tensor_parallel_size={number} does not divide 2 * heads = {size}, heads={size}; these do: {works}"
        )


def test_a_model_that_names_what_works_has_no_problem(group: SimpleNamespace) -> None:
    seen = []

    def build() -> None:
        seen.append(group.world_size)
        refuse(group.world_size, 24, [1, 2, 3, 4, 6, 8, 12, 24])

    assert unclear_refusals(build) == []
    assert set(refusals.RANKS) < set(seen) and 2 in seen, "what the message names is tried, too"
    assert group.world_size == 1


def test_an_assertion_of_a_layer_is_a_problem(group: SimpleNamespace) -> None:
    def build() -> None:
        if 24 % group.world_size:
            raise AssertionError("24 is not divisible")

    problems = unclear_refusals(build, (3, 5))
    assert problems == ["5 ranks: AssertionError: 24 is not divisible"] and group.world_size == 1


@pytest.mark.parametrize("works", [[], [1, 5], [1, 7]])
def test_a_message_that_names_nothing_that_works_is_a_problem(group: SimpleNamespace, works: list[int]) -> None:
    def build() -> None:
        if group.world_size == 7:
            raise ValueError("7 ranks are too many")
        refuse(group.world_size, 24, works)

    assert unclear_refusals(build, (5,))


def test_another_error_is_a_problem(group: SimpleNamespace) -> None:
    def build() -> None:
        raise ValueError("hidden_size has to be a multiple of 16")

    assert unclear_refusals(build, (3,)) == ["3 ranks: ValueError: hidden_size has to be a multiple of 16"]
