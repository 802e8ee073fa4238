"""Further rules of tensor parallelism: unknown ranks, norms across heads, masks, blocks that differ by index."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from tests.analyse.test_tp import ATTEND, QKV, plan
from tests.support.normal import block_model, mixed, normal_form, roles


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
    assert roles(plan(init, gated)) == {"up": "replicated", "down": "scattered"}, "a gate of unknown width"


@pytest.mark.parametrize(
    ("gate", "role"),
    [
        ("self.lin(temb)[:, None]", "gathered"),
        ("self.lin(torch.mystery(temb))[:, None]", "gathered"),
        ("self.lin(torch.mystery(x)).chunk(2, dim=1)[0]", "gathered"),
        ("self.lin(torch.mystery(x))[:, None]", "scattered"),
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
    assert roles(plan_parallel(normal_form(unknown, "Root")))["up"] == "scattered"


# ------------------------------------------------------------------------------------------------- heads of a rank
GROUPED = """
    self.heads = heads
    self.to_q = nn.Linear(dim, dim)
    self.to_k = nn.Linear(dim, groups * head_dim)
    self.to_v = nn.Linear(dim, groups * head_dim)
    self.to_out = nn.Linear(dim, dim)
"""
REPEATED = """
    q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
    head_dim = q.shape[-1] // self.heads
    kv_heads = k.shape[-1] // head_dim
    q = q.view(q.size(0), -1, self.heads, head_dim)
    k = k.view(k.size(0), -1, kv_heads, head_dim)
    v = v.view(v.size(0), -1, kv_heads, head_dim)
    if kv_heads != self.heads:
        k = k.repeat_interleave(self.heads // kv_heads, dim=2)
        v = v.repeat_interleave(self.heads // kv_heads, dim=2)
    return x + self.to_out(dispatch_attention_fn(q, k, v).flatten(2))
"""


def grouped(forward: str) -> ParallelPlan:
    code = block_model(GROUPED, forward).code
    code = code.replace("head_dim: int):", "head_dim: int, groups: int):").replace(
        "head_dim) for", "head_dim, groups) for"
    )
    code = code.replace("head_dim: int = 4,", "head_dim: int = 4, groups: int = 1,")
    return plan_parallel(normal_form(code, "Root"))


def test_keys_are_repeated_for_the_heads_of_queries() -> None:
    found = grouped(REPEATED)
    assert set(roles(found).values()) <= {"qkv", "column", "row"}
    assert {"heads", "groups"} <= {str(d.value) for d in found.decisions if d.subject == "tp divisor"}


def test_keys_repeated_by_the_heads_themselves_stay_whole() -> None:
    """``heads`` of a rank is no ratio: half as many copies on two ranks."""
    wrong = REPEATED.replace("k.repeat_interleave(self.heads // kv_heads", "k.repeat_interleave(self.heads")
    assert roles(grouped(wrong))["to_q"] == "replicated"


LOCAL = ATTEND.replace("(-1, self.head_dim)", "(self.heads, -1)")


@pytest.mark.parametrize(
    ("forward", "subjects"),
    [
        (LOCAL, {"heads in Block.heads": "num_heads"}),
        (LOCAL.replace("q, k, v)", "q, k, v, scale=x.mean().item())"), {"heads in Block.heads": "own"}),
    ],
)
def test_the_heads_of_a_rank_come_from_the_layer_or_are_kept_beside(forward: str, subjects: dict[str, str]) -> None:
    found = plan(QKV + "    self.heads = heads\n", forward)
    assert {d.subject: d.value for d in found.decisions if d.subject.startswith("heads in")} == subjects
    assert roles(found)["to_out"] == "row"


def test_all_heads_divide_the_whole_width() -> None:
    init = QKV + "    self.heads, self.inner_dim = heads, dim\n"
    head_dim = "\n    head_dim = self.inner_dim // self.heads"
    shape = "view(x.shape[0], -1, self.heads, head_dim)"
    forward = head_dim + LOCAL.replace("unflatten(-1, (self.heads, -1))", shape)
    init = init.replace("self.heads, self.inner_dim = heads, dim", "self.heads = heads\n    self.inner_dim = dim")
    found = plan(init, forward)
    assert [d.value for d in found.decisions if d.subject == "whole heads in Block"] == ["self.inner_dim // self.heads"]
    assert roles(found)["to_out"] == "row"
    other = forward.replace("// self.heads", "// (1 * self.heads)")
    assert roles(plan(init, other))["to_out"] == "replicated"


def test_a_table_of_positions_may_meet_heads_and_a_parameter_for_each_head_is_cut() -> None:
    turned = ATTEND.replace("dispatch_attention_fn(q,", "dispatch_attention_fn(q * {},")
    found = plan(QKV, turned.format("torch.mystery(context).view(1, 1, -1, 1)"))
    assert roles(found)["to_q"] == "qkv" and not found.slices
    init = QKV + "    self.scale = nn.Parameter(torch.ones(heads))\n"
    found = plan(init, turned.format("self.scale.view(1, 1, -1, 1)"))
    assert roles(found)["to_q"] == "qkv"
    assert [(s.class_name, s.expression, s.dim) for s in found.slices] == [
        ("Block", "self.scale.view(1, 1, -1, 1)", -2)
    ]


def test_a_value_that_is_also_used_as_a_whole_is_not_cut() -> None:
    init = QKV + "    self.scale = nn.Parameter(torch.ones(heads))\n"
    whole = ATTEND.replace("dispatch_attention_fn(q,", "dispatch_attention_fn(q * scale,")
    whole = "scale = self.scale.view(1, 1, -1, 1)\nx = x + (scale * 2).sum()\n" + textwrap.dedent(whole)
    found = plan(init, whole)
    assert roles(found)["to_q"] == "replicated" and not found.slices


def test_tables_over_all_heads_are_cut_where_they_are_given() -> None:
    extra = "from diffusers.models.transformers.transformer_ltx import apply_rotary_emb"
    turned = ATTEND.replace("q = self.to_q(x)", "q = apply_rotary_emb(self.to_q(x), temb)")
    found = plan(QKV, turned, extra=extra)
    assert roles(found)["to_q"] != "replicated"
    assert [(s.call, s.expression, s.dim) for s in found.slices] == [("apply_rotary_emb", "temb", -1)]


def test_equal_parts_whose_number_a_condition_sets() -> None:
    made = ["count = 2 if head_dim > 4 else 3", "self.to_kv = nn.Linear(dim, dim * count)", "self.two = head_dim > 4"]
    init = QKV + "".join(f"    {line}\n" for line in made)
    cut = (
        "if self.two:\n    k, v = self.to_kv(x).chunk(2, dim=-1)\nelse:\n    k, v, _ = self.to_kv(x).chunk(3, dim=-1)\n"
    )
    attend = "q = self.to_q(x)\n" + cut + "\n".join(textwrap.dedent(ATTEND).strip().splitlines()[3:])
    found = plan(init, attend)
    (merged,) = (linear for linear in found.linears if linear.path == "Block.to_kv")
    assert (merged.role, merged.packed) == ("merged", ("[dim] * count",))


def test_convolutions_are_shared_by_channels() -> None:
    found = plan_parallel(mixed())
    assert [(c.path, c.role, c.parts) for c in found.convs] == [
        ("Mix.up", "column", 2),
        ("Mix.depth", "depthwise", 2),
        ("Mix.down", "row", 1),
        ("Mix.around", "scattered", 1),
    ]
    assert roles(found, "Mix") == {"merge": "scattered"} and roles(found)["qkv"] == "merged"


@pytest.mark.parametrize(
    ("cut", "packed"),
    [
        ("a, b = y.chunk(2, dim=-1)", 2),
        ("half = y.shape[-1] // 2\na, b = y[..., :half], y[..., half:]", 2),
        ("n = y.shape[-1] // 2\na, b = torch.split(y, [n, y.shape[-1] - n], dim=-1)", 2),
        ("a, b = y[..., :8], y[..., 8:]", 0),
    ],
)
def test_a_width_is_cut_by_what_the_rank_holds(cut: str, packed: int) -> None:
    init = "self.up = nn.Linear(dim, 2 * dim)\nself.down = nn.Linear(dim, dim)"
    found = plan(init, f"y = self.up(x)\n{cut}\nreturn x + self.down(F.silu(a) * b)")
    (up,) = (linear for linear in found.linears if linear.path == "Block.up")
    assert (up.role, len(up.packed)) == (("merged", packed) if packed else ("replicated", 0))


def test_what_an_attention_projects_again_is_given_whole() -> None:
    """Else the projections to heads would be rows, and there would be no heads to share."""
    attention = """
    class Attn(nn.Module):
        def __init__(self, dim: int, heads: int):
            super().__init__()
            self.heads = heads
            self.to_q = nn.Linear(dim, dim)
            self.to_k = nn.Linear(dim, dim)
            self.to_v = nn.Linear(dim, dim)
            self.to_out = nn.Linear(dim, dim)

        def forward(self, x, context):
            q = self.to_q(x).unflatten(-1, (self.heads, -1))
            k = self.to_k(context).unflatten(-1, (self.heads, -1))
            v = self.to_v(context).unflatten(-1, (self.heads, -1))
            return self.to_out(dispatch_attention_fn(q, k, v).flatten(2))
    """
    init = "self.project = nn.Linear(dim, dim)\nself.attn = Attn(dim, heads)"
    found = plan_parallel(block_model(init, "return x + self.attn(x, self.project(context))", extra=attention))
    assert roles(found, "Attn") == {"to_q": "column", "to_k": "column", "to_v": "column", "to_out": "row"}
    assert roles(found) == {"project": "scattered"}
