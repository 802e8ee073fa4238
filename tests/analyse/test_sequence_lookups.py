"""Tables whose rows are looked up for each token, and tuples of tuples that hold such places."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence_classes import reason, region
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import block_model, normal_form, port_text

LOOK = """
if context is not None:
    (first, second), (third, fourth), (fifth, sixth) = context[0]
    x = x * F.embedding({place}, {table}) + x * F.embedding({place}, second)
    x = x * F.embedding(context[1][1], third) + x * F.embedding(context[1][1], fourth)
    x = x * F.embedding(context[1][2], fifth) + F.embedding(context[1][2], sixth) * x.{more}
"""


def form(place: str = "context[1][0]", table: str = "first", more: str = "square()") -> NormalForm:
    """A model whose blocks scale each token by rows that its three places pick out of three pairs of tables."""
    block = LOOK.format(place=place, table=table, more=more) + textwrap.dedent(ATTEND)
    text = block_model(QKV, block, params=", image_rotary_emb=None").code
    text = text.replace("        context = self.context_in(encoder_hidden_states)\n", "")
    return normal_form(text.replace("pooled_projections, context)", "pooled_projections, image_rotary_emb)"), "Root")


def planned(place: str = "context[1][0]", table: str = "first", more: str = "square()") -> ParallelPlan:
    return plan_parallel(form(place, table, more))


def test_the_places_are_split_and_the_tables_are_whole() -> None:
    found = planned().region
    assert found is not None and found.absent == ()
    given = [(t.item, t.inner, t.dim) for t in found.split if t.variable == "image_rotary_emb"]
    assert given == [(1, 0, -1), (1, 1, -1), (1, 2, -1)]
    port = port_text(form())
    assert "tuple(self.split_image_rotary_emb(table) for table in image_rotary_emb[1])" in port


@pytest.mark.parametrize(
    ("place", "table", "more", "refused"),
    [
        ("context[1][0].flip(1)", "first", "square()", "laid out is not known"),
        ("context[1][0]", "x[0]", "square()", "laid out is not known"),  # rows of the tokens
        ("first[:1]", "second", "square()", "laid out is not known"),  # places that are no places
        ("context[1][0]", "first", "mean(1, keepdim=True)", "laid out is not known"),
    ],
)
def test_other_lookups_are_refused(place: str, table: str, more: str, refused: str) -> None:
    assert refused in reason(planned(place, table, more))


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    split = [t for t in region(diffusers, "AllegroTransformer3DModel").split if t.item is not None]
    assert {(t.variable, t.item, t.streams) for t in split} == {("image_rotary_emb", 1, ("hidden_states",))}
