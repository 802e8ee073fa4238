"""Further rules of tensor parallelism: unknown ranks, norms across heads, masks, blocks that differ by index."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from tests.analyse.test_tp import ATTEND, QKV, plan
from tests.support.normal import block_model, normal_form, roles


def norms(found: ParallelPlan) -> dict[str, object]:
    return {d.subject: d.value for d in found.decisions if d.subject.startswith("norm across ranks")}


@pytest.mark.parametrize(("kind", "made"), [("rms", "nn.RMSNorm(dim)"), ("layer", "nn.LayerNorm(dim, eps=1e-6)")])
def test_a_norm_across_heads_is_shared_by_the_ranks(kind: str, made: str) -> None:
    init = QKV + f"    self.norm_q = {made}\n"
    found = plan(init, ATTEND.replace("self.to_q(x)", "self.norm_q(self.to_q(x))"))
    assert roles(found) == {"to_q": "column", "to_k": "column", "to_v": "column", "to_out": "row"}
    assert norms(found) == {"norm across ranks Block.norm_q": kind}
    assert {d.value for d in found.decisions if d.subject == "heads of Block"} == {"sharded"}


@pytest.mark.parametrize(
    ("made", "call"),
    [
        ("nn.RMSNorm(head_dim)", "self.norm_q(self.to_q(x))"),  # of another width: it would not fit the reference
        ("nn.GroupNorm(2, dim)", "self.norm_q(self.to_q(x))"),
        ("nn.RMSNorm(dim)", "self.norm_q(self.to_q(x)) + self.norm_q(x)"),
    ],
)
def test_other_norms_take_their_attention_back(made: str, call: str) -> None:
    found = plan(QKV + f"    self.norm_q = {made}\n", ATTEND.replace("self.to_q(x)", call))
    assert roles(found)["to_q"] == "replicated" and not norms(found)


def test_a_norm_per_head_needs_nothing() -> None:
    init = QKV + "    self.norm_q = nn.RMSNorm(head_dim)\n"
    found = plan(init, ATTEND.replace("dispatch_attention_fn(q,", "dispatch_attention_fn(self.norm_q(q),"))
    assert roles(found)["to_q"] == "qkv" and not norms(found)


def test_a_feed_forward_of_unknown_rank_is_sharded() -> None:
    init = "self.up = nn.Linear(dim, 4 * dim)\nself.down = nn.Linear(4 * dim, dim)"
    forward = "y = torch.mystery(x)\nreturn y + self.down(F.gelu(self.up(y)))"
    assert roles(plan(init, forward)) == {"up": "column", "down": "row"}
    gated = forward.replace("F.gelu(self.up(y))", "self.up(y) * torch.mystery(x)")
    assert roles(plan(init, gated)) == {"up": "replicated", "down": "replicated"}, "a gate of unknown width"


@pytest.mark.parametrize(
    ("gate", "role"),
    [
        ("self.lin(temb)[:, None]", "gathered"),
        ("self.lin(torch.mystery(temb))[:, None]", "gathered"),
        ("self.lin(torch.mystery(x)).chunk(2, dim=1)[0]", "gathered"),
        ("self.lin(torch.mystery(x))[:, None]", "replicated"),
    ],
)
def test_only_what_is_one_vector_per_sample_is_gathered(gate: str, role: str) -> None:
    """Of unknown rank: what is computed from vectors alone, or what is cut into parts along dimension 1."""
    assert roles(plan("self.lin = nn.Linear(dim, dim)", f"return x * {gate}")) == {"lin": role}


def test_a_mask_is_the_same_for_all_heads_unless_it_has_as_many() -> None:
    masked = ATTEND.replace("q, k, v)", "q, k, v, attn_mask={})")
    assert roles(plan(QKV, masked.format("torch.mystery(context)")))["to_out"] == "row"
    of_heads = masked.format("context.new_zeros(1).view(1, self.heads, 1, 1)")
    init = QKV + "    self.heads = heads\n"
    assert roles(plan(init, of_heads))["to_out"] == "replicated"


def test_blocks_that_differ_by_their_index_are_followed_one_by_one() -> None:
    """The last block has no second projection: what it would have given never meets the result of the others."""
    code = block_model(
        "self.last = last\nself.up = nn.Linear(dim, dim)\nself.down = nn.Linear(dim, dim)",
        "y = self.up(x)\nif not self.last:\n    y = self.down(y)\nreturn x if self.last else x + y",
    ).code
    code = code.replace("head_dim: int):", "head_dim: int, last: bool):")
    code = code.replace("heads, head_dim) for _", "heads, head_dim, last=i == depth - 1) for i")
    assert roles(plan_parallel(normal_form(code, "Root"))) == {"up": "column", "down": "row"}
    unknown = code.replace("last=i == depth - 1", "last=depth")
    assert roles(plan_parallel(normal_form(unknown, "Root")))["up"] == "replicated"
