"""Roles of linears: one small block for each rule; what must stay whole is told from what is sharded."""

from __future__ import annotations

import ast
import textwrap

import pytest

from omniport.analyse.dataflow import Walk
from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.shapes import Instance, Tensor
from omniport.source.tree import SourceTree
from tests.support.normal import CANVAS, block_model, normal_form, roles

QKV = """
    self.head_dim = head_dim
    self.to_q = nn.Linear(dim, dim)
    self.to_k = nn.Linear(dim, dim)
    self.to_v = nn.Linear(dim, dim)
    self.to_out = nn.Linear(dim, dim)
"""
ATTEND = """
    q = self.to_q(x)
    k = self.to_k(x)
    v = self.to_v(x)
    q = q.unflatten(-1, (-1, self.head_dim))
    k = k.unflatten(-1, (-1, self.head_dim))
    v = v.unflatten(-1, (-1, self.head_dim))
    return x + self.to_out(dispatch_attention_fn(q, k, v).flatten(2))
"""


def plan(init: str, forward: str, **kwargs: str) -> ParallelPlan:
    return plan_parallel(block_model(init, forward, **kwargs))


# ------------------------------------------------------------------------------------------------------------- sharded
def test_a_feed_forward_is_column_and_row() -> None:
    found = plan(
        "self.up = nn.Linear(dim, 4 * dim)\nself.down = nn.Linear(4 * dim, dim)",
        "return x + self.down(F.gelu(self.up(x)))",
    )
    assert roles(found) == {"up": "column", "down": "row"}


@pytest.mark.parametrize(
    ("forward", "supported", "reason"),
    [
        ("return x + self.down(F.gelu(self.up(x)))", True, "2 of 5 linears are sharded"),
        ("return x + self.down(torch.fft.fft(self.up(x)).real)", False, "no linear can be sharded; of Root."),
    ],
)
def test_a_plan_that_shards_nothing_says_so(forward: str, supported: bool, reason: str) -> None:
    found = plan("self.up = nn.Linear(dim, 4 * dim)\nself.down = nn.Linear(4 * dim, dim)", forward)
    (feature,) = (f for f in found.features if f.name == "tensor parallelism")
    assert feature.supported == supported and feature.why.reason.startswith(reason) and feature.why.line
    assert supported == any(linear.role != "replicated" for linear in found.linears)


def test_attention_is_fused_and_row() -> None:
    found = plan(QKV, ATTEND)
    assert roles(found) == {"to_q": "qkv", "to_k": "qkv", "to_v": "qkv", "to_out": "row"}
    assert [(w.parameter, w.checkpoint, w.shard) for w in found.weights] == [
        ("to_qkv", "to_q", "q"),
        ("to_qkv", "to_k", "k"),
        ("to_qkv", "to_v", "v"),
    ]
    (attention,) = found.attentions
    assert (attention.heads, attention.head_dim, attention.kind) == ("heads", "self.head_dim", "self")


def test_halves_of_a_gated_projection_are_sharded_one_by_one() -> None:
    found = plan(
        "self.proj = nn.Linear(dim, 6 * dim)\nself.down = nn.Linear(3 * dim, dim)",
        "value, gate = self.proj(x).chunk(2, dim=-1)\nreturn x + self.down(value * F.silu(gate))",
    )
    assert roles(found) == {"proj": "merged", "down": "row"}
    (proj,) = (p for p in found.linears if p.path == "Block.proj")
    assert len(proj.packed) == 2 and len(set(proj.packed)) == 1


def test_a_concatenation_of_sharded_parts_is_a_packed_row() -> None:
    init = "self.a = nn.Linear(dim, dim)\nself.b = nn.Linear(dim, 2 * dim)\nself.width = 2 * dim\n"
    found = plan(
        init + "self.out = nn.Linear(3 * dim, dim)", "return x + self.out(torch.cat([self.a(x), self.b(x)], dim=-1))"
    )
    (out,) = (p for p in found.linears if p.path == "Block.out")
    assert (out.role, out.packed) == ("row", ("dim", "self.width"))


def test_modulation_is_gathered() -> None:
    found = plan(
        "self.mod = nn.Linear(dim, 2 * dim)",
        "scale, shift = self.mod(F.silu(temb)).chunk(2, dim=1)\nreturn x * (1 + scale[:, None]) + shift[:, None]",
    )
    assert roles(found) == {"mod": "gathered"}


# -------------------------------------------------------------------------------------------------------- not sharded
@pytest.mark.parametrize(
    "forward",
    [
        "return x + self.lin(x)",  # a residual sum
        "return self.norm(self.lin(x))",
        "y = self.lin(x)\nreturn y[..., :4] @ y.transpose(1, 2)",
        "return torch.einsum('bsd,bsd->bsd', self.lin(x), x)",
        "return self.lin(x).roll(1, -1)",
        "a, b = torch.cat([self.lin(x), x], dim=-1).chunk(2, dim=-1)\nreturn a",
        "return self.lin(x) * self.lin(x).shape[-1]",  # the local width is not the width
    ],
)
def test_what_needs_the_full_width_is_no_column(forward: str) -> None:
    found = plan("self.lin = nn.Linear(dim, dim)\nself.norm = nn.LayerNorm(dim)", forward)
    assert roles(found) == {"lin": "scattered"}  # its input is whole: each rank takes a run of it

    (lin,) = (p for p in found.linears if p.path == "Block.lin")
    assert lin.why.line and "as long as the tokens" in lin.why.reason


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        ("nn.Linear(dim, dim)", "return F.softmax(self.lin(x), dim=-1) + x"),  # scores: rounding may change a choice
        ("nn.Linear(dim, 4 * dim)", "return F.normalize(self.lin(x), dim=-1).chunk(4, dim=-1)[0]"),  # it widens
    ],
)
def test_what_is_not_worth_an_all_reduce_is_replicated(init: str, forward: str) -> None:
    assert roles(plan(f"self.lin = {init}", forward)) == {"lin": "replicated"}


def test_uneven_splits_of_a_sharded_value_are_taken_back() -> None:
    found = plan(
        "self.dim = dim\nself.proj = nn.Linear(dim, 3 * dim)\nself.out = nn.Linear(2 * dim, dim)",
        "a, b = self.proj(x).split([self.dim, 2 * self.dim], dim=-1)\nreturn a + self.out(b)",
    )
    assert roles(found)["proj"] == "replicated"


def test_a_linear_called_on_whole_and_sharded_inputs_stays_whole() -> None:
    found = plan(
        "self.a = nn.Linear(dim, dim)\nself.b = nn.Linear(dim, dim)", "return x + self.b(self.a(x)) + self.b(x)"
    )
    assert roles(found) == {"a": "scattered", "b": "scattered"}


def test_linears_of_different_inputs_are_not_fused() -> None:
    found = plan(
        QKV, ATTEND.replace("self.to_k(x)", "self.to_k(context)").replace("self.to_v(x)", "self.to_v(context)")
    )
    assert roles(found)["to_q"] == roles(found)["to_k"] == "column"
    assert found.weights == ()


def test_projections_that_are_called_within_expressions_are_not_fused() -> None:
    inline = ATTEND.replace("q = self.to_q(x)\n", "").replace("q = q.un", "q = self.to_q(x).un")
    found = plan(QKV, inline)
    assert {roles(found)[name] for name in ("to_q", "to_k", "to_v")} == {"column"} and found.weights == ()


def test_projections_that_are_named_elsewhere_are_not_fused() -> None:
    found = plan(QKV, f"if self.to_k is None:\n    x = x + context\n{textwrap.dedent(ATTEND)}")
    assert {roles(found)[name] for name in ("to_q", "to_k", "to_v")} == {"column"} and found.weights == ()


def test_a_setting_that_is_false_or_none_decides_nothing() -> None:
    """``out`` is made where ``last`` is False, and not where it is None: what goes around it has to be whole."""
    init = (
        "self.up = nn.Linear(dim, dim)\nself.down = nn.Linear(dim, dim)\nlast = False if heads > head_dim else {}\n"
        "self.out = nn.Linear(dim, dim) if last is not None and not last else None"
    )
    forward = "y = self.up(x)\nif self.out is not None:\n    y = self.out(y)\nreturn x + y"
    assert roles(plan(init.format("None"), forward))["up"] == "scattered"
    assert roles(plan(init.format("False"), forward))["up"] == "column"


# --------------------------------------------------------------------------------------------------------- not followed
@pytest.mark.parametrize(
    ("init", "forward", "whole", "construct"),
    [
        (QKV, ATTEND.replace("(q, k, v)", "(q.unknown(), k, v)"), {"to_q", "to_k", "to_v", "to_out"}, "unknown"),
        ("self.lin = nn.Linear(dim, dim)", "while True:\n    x = self.lin(x)\nreturn x", {"lin"}, "While"),
        (
            "self.a = nn.Linear(dim, dim)\nself.b = nn.Linear(dim, dim)",
            "return x + self.b(self.missing(self.a(x)))",
            {"a", "b"},
            "missing",
        ),
        (
            "self.up = nn.Linear(dim, dim, device=None)\nself.down = nn.Linear(dim, dim)",
            "return x + self.down(self.up(x))",
            {"up"},
            "device",
        ),
        (
            "self.up = nn.Linear(dim, dim)\nself.down = nn.Linear(dim, dim)",
            "return x + self.down(self.up(x)) * self.down.weight.sum()",
            {"up", "down"},
            "weight is used",
        ),
    ],
)
def test_what_is_not_followed_stays_whole_and_is_named(
    init: str, forward: str, whole: set[str], construct: str
) -> None:
    found = plan(init, forward)
    assert {name for name, role in roles(found).items() if role in ("replicated", "scattered")} >= whole
    assert any(construct in linear.why.reason for linear in found.linears)


def test_a_construct_costs_only_what_flows_into_it() -> None:
    """A while loop over the context leaves the feed-forward of x as it is without the loop."""
    init = "self.up = nn.Linear(dim, 4 * dim)\nself.down = nn.Linear(4 * dim, dim)"
    forward = "return x + self.down(F.gelu(self.up(x)))"
    loop = "while context.shape[0] > 2:\n    context = context[1:]\n"
    assert roles(plan(init, loop + forward)) == roles(plan(init, forward)) == {"up": "column", "down": "row"}


def test_a_linear_that_is_not_reached_stays_whole() -> None:
    found = plan("self.lin = nn.Linear(dim, dim)\nself.dead = nn.Linear(dim, dim)", "return x + self.lin(x)")
    (dead,) = (linear for linear in found.linears if linear.path == "Block.dead")
    assert dead.role == "replicated" and "not reached" in dead.why.reason


def test_a_sharded_value_that_passes_a_list_is_not_lost() -> None:
    found = plan("self.a = nn.Linear(dim, dim)", "held = []\nheld.append(self.a(x))\nreturn x + held.pop()")
    assert roles(found) == {"a": "scattered"}


def test_modules_chosen_by_configuration_are_both_followed() -> None:
    """The choice that computes across the width takes the linear back; the one that does not leaves it a column."""
    init = (
        "self.up = nn.Linear(dim, dim)\nself.down = nn.Linear(dim, dim)\n"
        "self.norm = {} if heads > head_dim else nn.Identity()"
    )
    forward = "return x + self.down(self.norm(self.up(x)))"
    assert roles(plan(init.format("nn.SiLU()"), forward)) == {"up": "column", "down": "row"}
    assert roles(plan(init.format("nn.Softmax(dim=-1)"), forward))["up"] == "scattered"


# -------------------------------------------------------------------------------------------------- forms of attention
UNKNOWN_KEYS = """
    q = self.to_q(x).unflatten(-1, (-1, self.head_dim))
    k = strange(context).unflatten(2, (-1, self.head_dim))
    return x + self.to_out(dispatch_attention_fn(q, k, k{}).flatten(2))
"""


@pytest.mark.parametrize(("option", "planned"), [("", True), (", enable_gqa=True", False)])
def test_keys_have_as_many_heads_as_queries_unless_they_are_grouped(option: str, planned: bool) -> None:
    found = plan(QKV, UNKNOWN_KEYS.format(option))
    kept = [d.why.reason for d in found.decisions if d.subject == "attention call 1 of Block"]
    assert [(a.heads, a.kv_heads, a.head_dim) for a in found.attentions] == [
        ("heads", "heads", "self.head_dim")
    ] * planned
    assert kept == ([] if planned else ["its sizes are not known"])


def test_layers_of_one_class_with_different_heads_are_named_alike() -> None:
    """One name of the constructor says the number of heads of either, the root has two."""
    first, second = (f"SelfAttention(dim, {count}, {count}, head_dim)" for count in ("kv_heads", "heads"))
    made = f"{first}\n        self.more = {second}"
    text = CANVAS.replace("SelfAttention(dim, heads, kv_heads, head_dim)", made)
    text = text.replace("self.attn1(normed)", "self.attn1(normed) + self.more(normed)")
    found = plan_parallel(normal_form(text, "CanvasTransformer"))
    (attention,) = (a for a in found.attentions if a.class_name == "SelfAttention")
    assert attention.heads == attention.kv_heads == "self.heads"


def test_a_width_that_is_computed_is_raised_to_a_power_as_a_whole() -> None:
    init = QKV.replace("self.head_dim = head_dim\n", "self.heads = heads\n")
    forward = ATTEND.replace("(-1, self.head_dim)", "(self.heads, -1)")
    form = block_model(init, forward)
    text = form.code.replace("dim: int, heads: int, head_dim: int", "dim: int, heads: int").replace(
        "heads * head_dim, heads, head_dim)", "heads * head_dim, heads)"
    )
    (attention,) = plan_parallel(normal_form(text, "Root")).attentions
    assert (attention.head_dim, attention.softmax_scale) == ("dim // self.heads", "(dim // self.heads) ** -0.5")


def test_a_mask_that_is_the_same_for_all_heads_leaves_them_sharded() -> None:
    mask = "\n    mask = context.mean(-1)[:, None, None]"
    found = plan(QKV, mask + ATTEND.replace("q, k, v)", "q, k, v, attn_mask=mask)"))
    assert roles(found)["to_q"] == "qkv" and "with a mask" in found.attentions[0].why.reason
    supported = {feature.name: feature.supported for feature in found.features}
    assert supported["flash attention"]  # over keys, or with PyTorch's kernel: omniport/rewrite/key_masks.py
    assert "flash attention" not in {feature.name for feature in plan(QKV, ATTEND).features}


def test_causal_attention_is_planned_and_split_within_one_stream() -> None:
    found = plan(QKV, ATTEND.replace("q, k, v)", "q, k, v, is_causal=True)"))
    assert found.attentions[0].causal and found.sp and not found.attentions[0].local
    assert not plan(QKV, ATTEND).attentions[0].causal


HEADS_FIRST = """
    width = self.to_k(context).shape[-1]
    head_dim = width // self.heads
    q = self.to_q(x).view(x.shape[0], -1, self.heads, head_dim).transpose(1, 2)
    k = self.to_k(context).view(x.shape[0], -1, self.heads, head_dim).transpose(1, 2)
    v = self.to_v(context).view(x.shape[0], -1, self.heads, head_dim).transpose(1, 2)
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], -1, self.heads * head_dim)
    return x + self.to_out(out)
"""


def test_heads_first_attention_is_sharded_by_a_local_head_count() -> None:
    """The head count of the class becomes that of a rank, so that what is divided by it stays the same."""
    init = textwrap.dedent(QKV) + "\nself.heads = heads"
    found = plan(init, HEADS_FIRST)
    assert roles(found) == {"to_q": "column", "to_k": "column", "to_v": "column", "to_out": "row"}
    assert [d.value for d in found.decisions if d.subject == "heads in Block.heads"] == ["num_heads"]
    broken = HEADS_FIRST.replace("-1, self.heads * head_dim)", "-1, dim)").replace(
        "width =", "dim = x.shape[-1]\n    width ="
    )
    assert set(roles(plan(init, broken)).values()) == {"replicated"}


def test_a_call_whose_scale_is_known_at_run_time_stays() -> None:
    found = plan(QKV, ATTEND.replace("q, k, v)", "q, k, v, scale=float(x.shape[0]))"))
    assert not found.attentions and roles(found) == dict.fromkeys(("to_q", "to_k", "to_v"), "column") | {
        "to_out": "row"
    }
    (kept,) = (d for d in found.decisions if d.subject == "attention call 1 of Block")
    assert kept.value == "reference" and "scale" in kept.why.reason


# --------------------------------------------------------------------------------------------------------- whole models
def test_canvas() -> None:
    found = plan_parallel(normal_form(CANVAS, "CanvasTransformer"))
    assert roles(found, "SelfAttention") == {"to_q": "qkv", "to_k": "qkv", "to_v": "qkv", "to_out.0": "row"}
    assert roles(found, "CrossAttention") == {"to_q": "column", "to_k": "column", "to_v": "column", "to_out": "row"}
    assert roles(found, "GatedFeedForward") == {"proj": "merged", "down": "row"}
    assert roles(found, "CanvasTransformer")["pooled_embedder"] == "column"
    assert roles(found, "Modulation") == {"linear": "row"}  # one all-reduce of [B, 3 * dim]; the embedder is sharded
    first, second = found.attentions
    assert (first.heads, first.kv_heads, first.kind) == ("self.heads", "self.kv_heads", "self")
    assert (second.heads, second.kv_heads, second.kind) == ("self.heads", "self.heads", "cross")
    assert {d.value for d in found.decisions if d.subject == "tp divisor"} == {"num_heads", "num_kv_heads"}


def test_flux(diffusers: SourceTree) -> None:
    """Facts of FLUX: every linear of its blocks is sharded, the modulation too."""
    name = "FluxTransformer2DModel"
    found = plan_parallel(normalise(diffusers, diffusers.find_class(name, "models"), name).form, diffusers)
    by_role: dict[str, set[str]] = {}
    for linear in found.linears:
        by_role.setdefault(linear.role, set()).add(linear.path)
        assert linear.why.file and linear.why.line
    assert by_role["replicated"] == {f"{name}.{path}" for path in ("x_embedder", "context_embedder", "proj_out")}
    assert by_role["gathered"] == {
        f"{cls}.linear" for cls in ("AdaLayerNormZero", "AdaLayerNormZeroSingle", "AdaLayerNormContinuous")
    }
    assert {p.path: p.packed for p in found.linears if p.packed} == {
        "FluxSingleTransformerBlock.proj_out": ("dim", "self.mlp_hidden_dim")
    }
    assert [d.value for d in found.decisions if d.subject == "tp divisor"] == ["num_attention_heads"]
    assert [b.pattern for b in found.blocks] == [1, 1]


def test_lora_limits_are_said(diffusers: SourceTree) -> None:
    name = "FluxTransformer2DModel"
    flux = plan_parallel(normalise(diffusers, diffusers.find_class(name, "models"), name).form, diffusers)
    features = {f.name: f for f in flux.features}
    assert features["lora"].supported and not features["lora with tensor parallelism"].supported
    assert "proj_out" in features["lora with tensor parallelism"].why.reason
    canvas = plan_parallel(normal_form(CANVAS, "CanvasTransformer"))
    assert "lora with tensor parallelism" not in {f.name for f in canvas.features}


# ----------------------------------------------------------------------------------------------------- how often walked
@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[Walk]:
    """The walks that are made."""
    made: list[Walk] = []
    run = Walk.run

    def counted(self: Walk) -> object:
        made.append(self)
        return run(self)

    monkeypatch.setattr(Walk, "run", counted)
    return made


def test_a_linear_that_is_settled_at_its_first_call_costs_no_walk(walks: list[Walk]) -> None:
    assert roles(plan("self.a = nn.Linear(dim, dim, device=None)", "return x + self.a(x)")) == {"a": "replicated"}
    settled = len(walks)
    plan("", "return x")
    assert settled == len(walks) - settled


def test_a_linear_that_was_a_column_before_is_walked_again(walks: list[Walk]) -> None:
    """What was concluded from its first call, a row after it, goes with it."""
    init = "self.up = nn.Linear(dim, dim)\nself.down = nn.Linear(dim, dim)"
    forward = "x = x + self.down(F.gelu(self.up(x)))\nreturn x + self.up(torch.mystery(x))"
    assert roles(plan(init, forward)) == {"up": "scattered", "down": "scattered"}
    assert len(walks) > 1


def test_an_imported_function_that_calls_itself_on_alike_arguments_is_left(
    diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers pads each tensor of a list by the function itself."""
    name, home = "_pad_for_3d_conv", "diffusers.models.transformers.transformer_hunyuan_video_framepack"
    seen: list[int | None] = []
    run = Walk.run_function

    def counted(self: Walk, function: ast.FunctionDef, instance: Instance, env: dict[str, object]) -> object:
        if function.name == name:
            seen.append(len(x.dims) if isinstance(x := env["x"], Tensor) and x.dims is not None else None)
        return run(self, function, instance, env)

    monkeypatch.setattr(Walk, "run_function", counted)
    normal = block_model("", f"return x + {name}(x, (2, 2, 2))", extra=f"from {home} import {name}\n")
    plan_parallel(normal, diffusers)
    assert seen[:4] == [3, 2, 1, 0]  # what a loop over a tensor gives
    assert 1 <= seen.count(None) <= 2 * seen.count(3)  # and no further once nothing is known of it any more
