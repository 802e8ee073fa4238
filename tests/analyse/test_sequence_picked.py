"""Sequence parallelism of attention that picks its tokens at run time is refused by the place of the choice."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import plan_parallel
from omniport.analyse.sequence import plan as planning
from omniport.plan.model import FeaturePlan
from omniport.source.normal import NormalForm
from tests.analyse.test_tp import QKV
from tests.support.normal import block_model

ATTEND = """
    q = self.to_q(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
    k = self.to_k(context).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
    v = self.to_v(context).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
    {choice}
    out = F.scaled_dot_product_attention(torch.cat([q, k{index}], dim=2), torch.cat([q, k{index}], dim=2), v)
    return x + self.to_out(out.transpose(1, 2).flatten(2))
"""
CHOICE = "valid = torch.nonzero(temb.flatten(), as_tuple=False).flatten()"


def model(choice: str = CHOICE, index: str = "[:, :, valid, :]") -> NormalForm:
    return block_model(QKV, ATTEND.format(choice=choice, index=index))


def feature(normal: NormalForm) -> FeaturePlan:
    return next(f for f in plan_parallel(normal).features if f.name == planning.NAME)


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        (CHOICE, "[:, :, valid, :]"),
        (CHOICE, "[:, :, valid]"),
        ("valid = temb.argwhere()", "[:, :, valid, :]"),
        ("valid = torch.unique(temb)", "[valid]"),
    ],
)
def test_the_choice_is_named(choice: str, index: str) -> None:
    normal = model(choice, index)
    found = feature(normal)
    assert not found.supported and found.why.reason.startswith("k[")
    assert "picks tokens at run time" in found.why.reason
    assert normal.code.splitlines()[found.why.line - 1].strip() == choice


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        ("valid = temb.flatten()", "[:, :, valid, :]"),  # no choice
        (CHOICE, "[:, :, valid:, :]"),  # no index of its own
        (CHOICE, ""),
    ],
)
def test_other_refusals_keep_their_reason(choice: str, index: str) -> None:
    found = feature(model(choice, index))
    assert not found.supported and "picks tokens" not in found.why.reason


def test_without_the_look_at_choices_the_place_where_the_walk_stops_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named = feature(model())
    monkeypatch.setattr(planning, "picked", lambda module, facts: None)
    stopped = feature(model())
    assert not stopped.supported and stopped.why.reason != named.why.reason
