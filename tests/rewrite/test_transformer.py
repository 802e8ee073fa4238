"""The text of a port: parallel layers, attention, declarations, loader."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.emit.format import format_files
from omniport.errors import UnsupportedError
from omniport.port import analyse_transformer
from omniport.rewrite.transformer import render_transformer
from omniport.source.tree import SourceTree
from tests.support.normal import CANVAS, block_model, normal_form, port_text, transformer_plan


@pytest.fixture(scope="module")
def canvas() -> str:
    return ast.unparse(ast.parse(port_text(normal_form(CANVAS, "CanvasTransformer"), attributes=("channels",))))


@pytest.fixture(scope="module")
def flux(diffusers: SourceTree) -> str:
    name = "FluxTransformer2DModel"
    normal = normalise(diffusers, diffusers.find_class(name, "models"), name)
    plan = transformer_plan(normal.form, plan_parallel(normal.form, diffusers))
    text = render_transformer(normal.form, plan, header="", attributes=("in_channels",), separate_cfg=True)
    formatted, findings = format_files({"flux.py": text}, None)
    assert not findings
    return formatted["flux.py"]


def test_a_port_without_sharding_refuses_ranks() -> None:
    code = port_text(block_model("self.up = nn.Linear(dim, 2 * dim)", "return x + torch.fft.fft(self.up(x)).real"))
    assert "tensor parallelism: set tensor_parallel_size to 1" in code
    sharded = port_text(block_model("self.up = nn.Linear(dim, 2 * dim)", "return x + torch.tanh(self.up(x)).sum(-1)"))
    assert "set tensor_parallel_size to 1" in sharded  # a sum over the width needs all of it, too
    init = "self.up = nn.Linear(dim, dim)\nself.down = nn.Linear(dim, dim)"
    assert "set tensor_parallel_size" not in port_text(block_model(init, "return x + self.down(self.up(x))"))


# ------------------------------------------------------------------------------------------------------------- layers
@pytest.mark.parametrize(
    "line",
    [
        "self.to_qkv = QKVParallelLinear(hidden_size=dim, head_size=head_dim, total_num_heads=self.heads, "
        "total_num_kv_heads=self.kv_heads, bias=False, return_bias=False, quant_config=quant_config, "
        "prefix=f'{prefix}.to_qkv')",
        "self.to_out = nn.ModuleList([RowParallelLinear(heads * head_dim, dim, return_bias=False, "
        "quant_config=quant_config, prefix=f'{prefix}.to_out.0')])",
        "self.to_k = ColumnParallelLinear(context_dim, heads * head_dim, return_bias=False, quant_config=quant_config, "
        "prefix=f'{prefix}.to_k')",
        "self.proj = MergedColumnParallelLinear(dim, [inner_dim, inner_dim], return_bias=False, "
        "quant_config=quant_config, prefix=f'{prefix}.proj')",
        "self.attn1 = SelfAttention(dim, heads, kv_heads, head_dim, quant_config=quant_config, "
        "prefix=f'{prefix}.attn1')",
        "self.x_embedder = nn.Linear(channels, dim)",
        "query, key, value = self.to_qkv(hidden_states).split(self.to_qkv.output_partition_sizes, dim=-1)",
        "query = self.norm_q(query.unflatten(-1, (self.attn.num_heads, -1)))",
        "key = self.norm_k(key.unflatten(-1, (self.attn.num_kv_heads, -1)))",
        "hidden_states = self.attn(query, key, value)",
        "query = self.to_q(hidden_states).view(batch, -1, self.attn.num_heads, self.head_dim)",
        "hidden_states = hidden_states * F.silu(gate)",
        "self.channels = channels",
        "_repeated_blocks = ['CanvasBlock']",
        "_layerwise_offload_blocks_attrs = ['blocks']",
    ],
)
def test_canvas_lines(canvas: str, line: str) -> None:
    assert line in canvas


@pytest.mark.parametrize("gone", ["dispatch_attention_fn(", "Dropout", "_no_split_modules", "to_out[1]", "self.to_v(h"])
def test_canvas_leaves_out(canvas: str, gone: str) -> None:
    assert gone not in canvas


def test_cross_attention_skips_sequence_parallelism(canvas: str) -> None:
    calls = [n for n in ast.walk(ast.parse(canvas)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "Attention"]
    first, second = ({k.arg: ast.unparse(k.value) for k in call.keywords} for call in calls)
    assert "role" not in first and first["num_kv_heads"] == "self.to_qkv.num_kv_heads" and "num_kv_heads" not in second
    assert (second["role"], second["skip_sequence_parallel"]) == ("'cross'", "True")
    assert second["num_heads"] == "self.heads // get_tensor_model_parallel_world_size()"


def test_blocks_count_their_prefix(canvas: str) -> None:
    assert "prefix=maybe_prefix(prefix, f'blocks.{i}')) for i in range(num_layers)" in canvas


def test_separate_cfg_is_declared_only_when_asked() -> None:
    normal = normal_form(CANVAS, "CanvasTransformer")
    assert "has_separate_cfg" not in port_text(normal)
    assert "has_separate_cfg=True" in port_text(normal, separate_cfg=True)


def test_packed_rows_get_their_loader() -> None:
    init = "self.a = nn.Linear(dim, dim)\nself.b = nn.Linear(dim, 2 * dim)\nself.out = nn.Linear(3 * dim, dim)"
    text = port_text(block_model(init, "return x + self.out(torch.cat([self.a(x), self.b(x)], dim=-1))"))
    assert "shard_packed_input(self.out, [dim, 2 * dim])" in text and "def shard_packed_input" in text
    plain = port_text(
        block_model("self.a = nn.Linear(dim, dim)\nself.b = nn.Linear(dim, dim)", "return x + self.b(self.a(x))")
    )
    assert "shard_packed_input" not in plain


def test_projections_that_differ_are_not_fused() -> None:
    """One bias more, or a call within an expression: each projection is a column of its own."""
    for change in (
        ("self.to_k(hidden_states)", "self.to_k(hidden_states) * 1"),
        (
            "self.to_v = nn.Linear(dim, kv_heads * head_dim, bias=False)",
            "self.to_v = nn.Linear(dim, kv_heads * head_dim)",
        ),
    ):
        text = port_text(normal_form(CANVAS.replace(*change), "CanvasTransformer"))
        assert "QKVParallelLinear(" not in text and text.count("= ColumnParallelLinear(") == 7


def test_a_linear_made_in_another_way_stays_as_it_is() -> None:
    change = ("self.down = nn.Linear(inner_dim, dim)", "self.down = nn.Linear(inner_dim, dim, device=None)")
    text = port_text(normal_form(CANVAS.replace(*change), "CanvasTransformer"))
    assert change[1] in text and "self.proj = ReplicatedLinear(dim, inner_dim * 2" in text


def test_named_sizes_are_written_in_order() -> None:
    change = ("nn.Linear(inner_dim, dim)", "nn.Linear(in_features=inner_dim, out_features=dim)")
    text = port_text(normal_form(CANVAS.replace(*change), "CanvasTransformer"))
    assert "self.down = RowParallelLinear(inner_dim, dim, return_bias=False" in ast.unparse(ast.parse(text))


HEADS_FIRST = """
    q = self.to_q(x).view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)
    k = self.to_k(x).view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)
    v = self.to_v(x).view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)
    k_image = self.to_k(context).view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)
    mask = context.mean(-1)[:, None, None]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=False)
    out = out + F.scaled_dot_product_attention(q, k_image, v)
    return x + self.to_out(out.transpose(1, 2).flatten(2))
"""


def test_each_attention_call_has_its_layer() -> None:
    init = (
        "self.heads, self.head_dim = heads, head_dim\nself.to_q = nn.Linear(dim, dim)\n"
        "self.to_k = nn.Linear(dim, dim)\nself.to_v = nn.Linear(dim, dim)\nself.to_out = nn.Linear(dim, dim)"
    )
    text = ast.unparse(ast.parse(port_text(block_model(init, HEADS_FIRST))))
    assert "out = self.attn(q, k, v, AttentionMetadata(attn_mask=mask))" in text
    assert "out = out + self.attn_image(q, k_image, v)" in text and "transpose" not in text
    assert "prefix=f'{prefix}.attn_image'" in text and "scaled_dot_product_attention" not in text
    assert "import AttentionMetadata" in text


def test_a_class_named_attention_keeps_its_name() -> None:
    text = port_text(normal_form(CANVAS.replace("SelfAttention", "Attention"), "CanvasTransformer"))
    assert "import Attention as OmniAttention" in text and "self.attn = OmniAttention(" in text


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="sample_size"):
        port_text(normal_form(CANVAS, "CanvasTransformer"), attributes=("sample_size",))


# --------------------------------------------------------------------------------------------------------------- FLUX
def test_flux_is_no_longer_than_a_hand_written_port(flux: str) -> None:
    assert flux.count("\n") < 700
    compile(flux, "flux.py", "exec")


def test_flux_threads_quantisation_to_every_linear(flux: str) -> None:
    tree = ast.parse(flux)
    seen = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ParallelLinear"):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            gathered = "gather_output" in keywords
            assert keywords["quant_config"] == ("safe_quant_config(quant_config)" if gathered else "quant_config")
            assert "prefix" in keywords and keywords["return_bias"] == "False"
            seen += 1
    assert seen == 12
    assert flux.count("nn.Linear(") == 3  # x_embedder, context_embedder, proj_out


def test_flux_constructor(flux: str) -> None:
    tree = ast.parse(flux)
    root = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "FluxTransformer2DModel")
    init = next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    names = [a.arg for a in init.args.args]
    assert names[:2] == ["self", "od_config"] and names[-2:] == ["quant_config", "prefix"]
    assert "patch_size" in names and "axes_dims_rope" in names


def test_the_same_text_every_time(diffusers: SourceTree, flux: str) -> None:
    name = "FluxTransformer2DModel"
    normal = normalise(diffusers, diffusers.find_class(name, "models"), name)
    plan = transformer_plan(normal.form, plan_parallel(normal.form, diffusers))
    text = render_transformer(normal.form, plan, header="", attributes=("in_channels",), separate_cfg=True)
    assert format_files({"flux.py": text}, None)[0]["flux.py"].endswith(flux[flux.index("class AdaLayerNormZero") :])


# ---------------------------------------------------------------------------------------------- the model of our own
def test_golden(reference: SourceTree, golden: Callable[[str, str], None]) -> None:
    name = "MiniTransformer2DModel"
    normal = normalise(reference, reference.find_class(name), name).form
    plan = transformer_plan(normal, plan_parallel(normal, reference))
    text = render_transformer(normal, plan, header="", attributes=("in_channels",), separate_cfg=False)
    formatted, findings = format_files({"mini_transformer.py": text}, None)
    assert not findings
    golden("mini/transformer.py.txt", formatted["mini_transformer.py"])


def test_a_module_that_several_lists_reach_is_named_once(diffusers: SourceTree) -> None:
    found = analyse_transformer(diffusers, "Transformer2DModel")  # three ways to build its blocks, one attribute
    text = render_transformer(found.normal, found.plan, header="", attributes=(), separate_cfg=False)
    condition = next(line for line in text.splitlines() if "index.isdigit()" in line)
    assert condition.endswith("or name in ['transformer_blocks.0.norm1.emb']")
