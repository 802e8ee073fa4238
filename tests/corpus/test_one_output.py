"""Several outputs of a reference that makes one: the port has to refuse them, and one that serves them is found."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from omniport.corpus.pipeline_stages import Run, makes_one, unrefused  # noqa: E402

pytestmark = pytest.mark.verify


def _raises(text: str) -> Run:
    raise ValueError(text)


def test_a_port_that_refuses_the_number_is_right() -> None:
    assert unrefused(lambda: _raises("makes one output: params.num_outputs_per_prompt=2 is not supported")) == []


def test_a_port_that_serves_it_with_one_is_found() -> None:
    assert unrefused(Run) == ["two outputs: served with one output, not refused"]


def test_another_error_is_no_refusal() -> None:
    (fault,) = unrefused(lambda: _raises("shape '[2, 4]' is invalid"))
    assert "shape" in fault


def test_what_the_reference_makes_is_seen_by_its_latents() -> None:
    one, two = Run(output=[torch.ones(1, 4)]), Run(output=[torch.ones(2, 4)])
    assert makes_one({"defaults": one, "two outputs": one})
    assert not makes_one({"defaults": one, "two outputs": two})
    assert not makes_one({"defaults": one}) and not makes_one({"defaults": one, "two outputs": Run(skipped="fails")})
