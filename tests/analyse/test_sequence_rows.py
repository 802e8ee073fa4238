"""Values with a row for each token of a packed sequence, which has no batch."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence_classes import reason, region
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import block_model, normal_form


def indexed(said: str) -> ParallelPlan:
    """Blocks take a row of a table for each token; the docstring says that the rows are of shape ``said``."""
    text = block_model(QKV, "x = x * temb.index_select(0, context)\n" + textwrap.dedent(ATTEND), params=", rows").code
    text = text.replace("pooled_projections, context)", "pooled_projections, rows)")
    head = "pooled_projections, rows):\n"
    docstring = (
        f'        """Args:\n            rows (`torch.Tensor` of shape `{said}`): which row of the table.\n        """\n'
    )
    return plan_parallel(normal_form(text.replace(head, head + docstring, 1), "Root"))


@pytest.mark.parametrize(
    ("said", "refused"), [("(length,)", ""), ("(length)", ""), ("(length, 2)", "one entry for each token")]
)
def test_the_docstring_tells_a_vector(said: str, refused: str) -> None:
    found = indexed(said)
    if refused:
        assert found.region is None and refused in reason(found)
    else:
        assert found.region is not None and {(t.variable, t.dim) for t in found.region.split} == {("x", 1), ("rows", 0)}


def test_published_models_with_such_rows(diffusers: SourceTree) -> None:
    split = {t.variable: (t.dim, t.dims) for t in region(diffusers, "MiniMaxH3Transformer3DModel").split}
    assert split["adaln_indices"] == split["timestep_indices"] == (0, 1)
