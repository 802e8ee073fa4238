"""Axes that merge samples and tokens."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence import model, reason
from tests.analyse.test_sequence_classes import planned, region
from tests.analyse.test_tp import ATTEND
from tests.support.normal import normal_form, port_text

LINES = "\n".join(line.strip() for line in ATTEND.strip().splitlines())
APART = "x = x.unsqueeze(2).flatten(0, 1)\n{}\nx = x.reshape(temb.shape[0], -1, 1, x.shape[-1]).squeeze(2)\n"
TABLE = "samples = x.shape[0]\n        table = pooled_projections.repeat_interleave(x.shape[1], dim=0)"


def merging(rows: str = "x = x * 2", apart: str = APART, before: str = "") -> ParallelPlan:
    """A model whose blocks do ``rows`` to tokens that are rows of one axis with the samples."""
    return plan_parallel(normal_form(model(apart.format(rows) + LINES, before=before), "Root"))


@pytest.mark.parametrize(
    ("rows", "apart", "refused"),
    [
        ("x = x * 2", APART, ""),
        ("x = x * 2", APART.replace("flatten(0, 1)", "reshape(-1, 1, x.shape[-1])"), ""),
        (
            "x = x * 2",
            APART.replace("reshape(temb.shape[0], -1, 1, x.shape[-1])", "unflatten(0, (temb.shape[0], -1))"),
            "",
        ),
        (
            "x = x * 2",
            APART.replace("reshape(temb.shape[0], -1, 1, x.shape[-1])", "unflatten(0, (2, -1))"),
            "into runs",
        ),
        ("x = x - x.mean(0)", APART, "runs over the tokens"),
        ("x = x.flip(0)", APART, "flip"),
        (
            "x = x * 2",
            APART.replace("x.unsqueeze(2)", "x.transpose(0, 1).unsqueeze(2)"),
            "merges the token axis",
        ),  # tokens first
        ("x = x * 2", APART.replace("temb.shape[0], -1", "-1, temb.shape[0]"), "reshape"),
    ],
)
def test_samples_in_front_of_their_tokens_may_be_rows_of_one_axis(rows: str, apart: str, refused: str) -> None:
    found = merging(rows, apart)
    assert refused in reason(found) if refused else found.region is not None
    assert found.region is None or [(t.variable, t.dim, t.dims) for t in found.region.gather] == [("x", 1, 3)]


def test_a_table_with_such_rows_is_taken_apart_where_it_is_split() -> None:
    text = model(APART.format("x = x + temb.reshape(x.shape[0], 1, -1)") + LINES, before=TABLE)
    text = text.replace("temb.shape[0], -1", "context.shape[0], -1").replace("x, pooled_projections, c", "x, table, c")
    found = plan_parallel(normal_form(text, "Root")).region
    assert found is not None
    assert {t.variable: (t.dim, t.dims, t.samples) for t in found.split}["table"] == (1, 3, "samples")
    port = port_text(normal_form(text, "Root"))
    assert "table.unflatten(0, (samples, -1))" in port and "table = table.flatten(0, 1)" in port
    # The twin: no number of the forward counts the samples, so that the rows cannot be taken apart.
    unknown = plan_parallel(normal_form(text.replace("samples = x.shape[0]", "samples = 2"), "Root"))
    assert "merges samples and tokens" in reason(unknown)


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    split = {t.variable: t for t in region(diffusers, "LatteTransformer3DModel").split}
    assert (split["timestep_temp"].samples, split["hidden_states"].samples) == ("batch_size", None)
    (spatial, temporal) = planned(diffusers, "LatteTransformer3DModel").attentions[0].key_streams
    assert spatial[1] == ("hidden_states",) and temporal[1] == ()
