"""Values with a row for each token of a packed sequence, which has no batch."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence_classes import planned, reason, region
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


PACKED = """
q = self.to_q(x).view(-1, self.heads, self.head_dim)
k = self.to_k(x).view(-1, self.heads, self.head_dim)
v = self.to_v(x).view(-1, self.heads, self.head_dim)
{keys}
out = dispatch_attention_fn(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0){causal})
return {x} + self.to_out(out.squeeze(0).flatten(1))
"""


def packed(pack: str = "pack({})", x: str = "x", keys: str = "", causal: str = "") -> ParallelPlan:
    """A model whose hidden states have no batch: ``pack`` makes them in a way that is not followed."""
    text = block_model(textwrap.dedent(QKV) + "self.heads = heads", PACKED.format(x=x, keys=keys, causal=causal)).code
    made = "self.proj_in(hidden_states)"
    return plan_parallel(normal_form(text.replace(f"x = {made}", f"x = {pack.format(made)}"), "Root"))


def test_rows_without_a_batch_are_split_along_their_first_axis() -> None:
    found = packed()
    assert found.region is not None and [(t.dim, t.dims) for t in found.region.split] == [(0, 2)]
    assert [(t.dim, t.dims) for t in found.region.gather] == [(0, 2)]


@pytest.mark.parametrize(
    ("pack", "x", "refused"),
    [
        ("{}", "x", "reshaped across tokens"),  # hidden states with a batch
        ("pack({})", "x - x.mean(0)", "runs over the tokens"),
        ("pack({})", "x.flip(0)", "flip"),
    ],
)
def test_rows_that_are_mixed_are_refused(pack: str, x: str, refused: str) -> None:
    found = packed(pack, x)
    assert found.region is None and refused in reason(found)


def test_causal_attention_within_one_stream_needs_no_mask_for_what_pads_it() -> None:
    found = packed(causal=", is_causal=True")
    assert found.region is not None and [(a.causal, a.local, a.streams) for a in found.attentions] == [
        (True, False, ())
    ]
    assert [a.streams for a in packed().attentions] == [("x",)]  # any other is told which keys pad it


def test_causal_attention_over_two_streams_is_refused() -> None:
    """The ranks put the tokens together rank by rank: they are not in order."""
    keys = "k = torch.cat([k, k], dim=0)\nv = torch.cat([v, v], dim=0)"
    assert packed(keys=keys).region is not None
    assert "attention is causal" in reason(packed(keys=keys, causal=", is_causal=True"))


def test_published_models_with_such_rows(diffusers: SourceTree) -> None:
    split = {t.variable: (t.dim, t.dims) for t in region(diffusers, "MiniMaxH3Transformer3DModel").split}
    assert split["adaln_indices"] == split["timestep_indices"] == (0, 1)
    packed_moe = {t.variable: (t.dim, t.dims) for t in region(diffusers, "Cosmos3OmniTransformer").gather}
    assert packed_moe == {"gen_out": (0, 2), "und_out": (0, 2)}
    layers = [(a.causal, a.streams) for a in planned(diffusers, "Cosmos3OmniTransformer").attentions]
    assert layers == [(True, ()), (False, ("und_seq", "gen_seq"))]
