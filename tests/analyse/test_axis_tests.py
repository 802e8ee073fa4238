"""Conditions on a number of axes: settled where the caller's tensor is known, open where it may have several forms."""

from __future__ import annotations

import pytest

from omniport.analyse import axis_tests
from omniport.analyse.parallel import plan_parallel
from omniport.source.normal import NormalForm
from tests.support.normal import block_model, normal_form

INIT = "self.up = nn.Linear(dim, dim)"
ASKS = "if {test}:\n    x = x.squeeze(1)\nreturn x + self.up(x)"


def settled(normal: NormalForm) -> dict[str, object]:
    found = plan_parallel(normal).decisions
    return {d.subject: d.value for d in found if d.subject.startswith(axis_tests.SUBJECT)}


def reordered(normal: NormalForm, old: str, new: str) -> NormalForm:
    assert old in normal.code
    return normal_form(normal.code.replace(old, new), normal.root)


def test_the_axes_of_tokens_are_known_in_a_block() -> None:
    model = block_model(INIT, ASKS.format(test="x.ndim == 4"))
    assert settled(model) == {"axes in Block: x.ndim == 4": False}
    (why,) = [d.why for d in plan_parallel(model).decisions if d.subject.startswith(axis_tests.SUBJECT)]
    assert model.code.splitlines()[why.line - 1].strip() == "if x.ndim == 4:"


def test_both_conditions_of_a_block_are_one_decision() -> None:
    twice = "if x.ndim == 4:\n    x = x.squeeze(1)\n" + ASKS.format(test="x.ndim == 4")
    assert settled(block_model(INIT, twice)) == {"axes in Block: x.ndim == 4": False}


OPEN = [
    block_model(INIT, "x = torch.mystery(x)\n" + ASKS.format(test="x.ndim == 4")),  # of any rank
    block_model(INIT, "x = x if self.training else x[:, None]\n" + ASKS.format(test="x.ndim == 4")),
    block_model(INIT, ASKS.format(test="x.ndim == 4 or self.training")),  # beside another condition
    block_model(INIT, ASKS.format(test="x.shape[1] == 4")),
]


@pytest.mark.parametrize("model", OPEN)
def test_what_is_not_known_stays(model: NormalForm) -> None:
    assert not settled(model)


MODULATED = block_model(INIT, "if temb.ndim == 3:\n    temb = temb[:, 0]\nreturn x + self.up(x) * temb[:, None]")
ROOT = "        context = self.context_in(encoder_hidden_states)\n"
SEVERAL = [
    "        if pooled_projections.ndim == 3:\n            x = x + 1\n",
    "        x = x + 1 if pooled_projections.dim() == 3 else x\n",
    "        extra = pooled_projections * 2\n        x = x * (len(extra.shape) - 1)\n",
]


def test_a_value_of_one_form_is_known() -> None:
    assert settled(MODULATED) == {"axes in Block: temb.ndim == 3": False}
    vector = "if temb.ndim == 2:\n    temb = temb[:, None]\nreturn x + self.up(x) * temb"
    assert settled(block_model(INIT, vector)) == {"axes in Block: temb.ndim == 2": True}


@pytest.mark.parametrize("counted", SEVERAL)
def test_what_the_root_takes_in_several_forms_stays(counted: str) -> None:
    assert not settled(reordered(MODULATED, ROOT, ROOT + counted))


def test_a_condition_of_the_root_that_was_followed_both_ways_assumes_nothing() -> None:
    masked = block_model(INIT, ASKS.format(test="x.ndim == 4"), params=", mask=None")
    asked = ROOT + "        if mask is not None and mask.ndim == 2:\n            x = x * mask[:, :, None]\n"
    assert settled(reordered(masked, ROOT, asked)) == {"axes in Block: x.ndim == 4": False}


@pytest.mark.parametrize("counted", SEVERAL)
def test_without_the_look_at_the_root_one_form_would_be_taken_for_all(
    monkeypatch: pytest.MonkeyPatch, counted: str
) -> None:
    monkeypatch.setattr(axis_tests, "_counted", lambda forward, followed: frozenset())
    assert settled(reordered(MODULATED, ROOT, ROOT + counted))


def test_a_condition_that_no_call_reaches_stays_with_its_like() -> None:
    hidden = "if self.missing is None:\n    return x\n" + ASKS.format(test="x.ndim == 4")
    once = block_model("self.missing = None\n" + INIT, hidden)
    assert not settled(once)
    twice = "if x.ndim == 4:\n    x = x.squeeze(1)\n" + hidden
    assert not settled(block_model("self.missing = None\n" + INIT, twice))
