"""Parameters that are one tensor or a tuple of tensors."""

from __future__ import annotations

import ast
import textwrap

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sequence.kinds import kinds_of, raises
from omniport.analyse.shapes import Seq, Tensor
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence_classes import planned, reason, region
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import block_model, normal_form

CROSS = """
class Pair(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, context):
        {check}
        text, image = context
        {use}
        return x + self.proj(text).mean(1, keepdim=True) + image.mean(1, keepdim=True)


class One(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, context):
        key = self.proj(context)
        return x + key.mean(1, keepdim=True)
"""
CHOICE = "if heads > 4:\n    self.cross = Pair(dim)\nelse:\n    self.cross = One(dim)\n"
CHECK = "if not isinstance(context, tuple):\n            raise ValueError(context)"
ASKED = "text, image = {0} if isinstance({0}, tuple) else ({0}, None)".format("encoder_hidden_states")


def either(check: str = CHECK, use: str = "image = image * 2", asked: str = ASKED) -> ParallelPlan:
    """A model that attends to a text, or to a text and an image, as its configuration says."""
    forward = "x = self.cross(x, context)\n" + textwrap.dedent(ATTEND)
    text = block_model(textwrap.dedent(QKV) + CHOICE, forward, extra=CROSS.format(check=check, use=use)).code
    made = "(text, image) if isinstance(encoder_hidden_states, tuple) else text"
    old = "context = self.context_in(encoder_hidden_states)\n"
    return plan_parallel(normal_form(text.replace(old, f"{asked}\n        context = {made}\n"), "Root"))


def test_either_kind_is_walked_by_itself() -> None:
    found = either()
    assert found.region is not None and {t.variable for t in found.region.split} == {"x"}
    assert found.region.required == ()


def test_a_module_that_takes_both_kinds_mixes_them() -> None:
    """The twin: nothing says that the module which unpacks its argument is not given the tensor."""
    assert either(check="pass").region is None


def test_what_stands_for_an_absent_item_is_asked_for() -> None:
    found = either(use="if text is None:\n            text = x")
    assert found.region is not None and found.region.required == ("text",)


def test_tokens_that_stand_for_an_item_are_refused_where_it_has_no_name() -> None:
    assert "runs over the tokens" in reason(either(use="text = x"))


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("a, b = x if isinstance(x, tuple) else (x, None)", {"x": 2}),
        ("if isinstance(x, (tuple, list)):\n    a, b, c = x", {"x": 3}),
        ("a, b = x", {}),  # never asked
        ("a = isinstance(x, tuple)", {}),  # never unpacked
        ("y = x\na, b = y if isinstance(y, tuple) else (y, None)", {}),  # no parameter
        ("a, b = x if isinstance(x, int) else (x, None)", {}),
    ],
)
def test_what_is_asked_and_unpacked_comes_as_a_tuple_too(body: str, kinds: dict[str, int]) -> None:
    (forward,) = ast.parse(f"def forward(self, x):\n{textwrap.indent(body, '    ')}").body
    assert isinstance(forward, ast.FunctionDef) and kinds_of(forward) == kinds


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        ("if not isinstance(x, tuple):\n    raise ValueError", Tensor(None)),
        ("if isinstance(x, tuple):\n    raise ValueError", Seq([])),
        ("if not isinstance(x, tuple):\n    x = 1", None),
        ("if not isinstance(y, tuple):\n    raise ValueError", None),
    ],
)
def test_a_module_that_raises_takes_the_other_kind(condition: str, wrong: object) -> None:
    (node,) = ast.parse(condition).body
    for value in (Tensor(None), Seq([])):
        assert raises(node, {"x": value}) == isinstance(value, type(wrong))


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    split = {t.variable: t for t in region(diffusers, "CosmosTransformer3DModel").split}
    assert split["image_rotary_emb"].streams == ("hidden_states",) and split["temb"].rank == 3
    assert region(diffusers, "CosmosTransformer3DModel").required == ("text_context",)
    layers = planned(diffusers, "CosmosTransformer3DModel").attentions
    assert {a.class_name: a.local for a in layers} == {
        "Attention": False,
        "CosmosAttention": True,
        "CosmosCrossAttention": True,
    }
