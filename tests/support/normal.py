"""Normal forms of our own for the tests of sharding and rewriting."""

from __future__ import annotations

import textwrap

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.plan.model import TransformerPlan
from omniport.rewrite.transformer import render_transformer
from omniport.source.normal import NormalForm, Origin

#: A cross-attention transformer unlike FLUX: grouped key/value heads, LayerNorm on heads, head counts written out, a
#: gated feed-forward, conditioning by linears of the root, one stream that is attended to and never changes.
CANVAS = """
import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import nn


class Modulation(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.linear = nn.Linear(dim, 3 * dim)

    def forward(self, x, temb):
        scale, shift, gate = self.linear(temb).unsqueeze(1).chunk(3, dim=-1)
        return self.norm(x) * (1 + scale) + shift, gate


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.kv_heads = kv_heads
        self.norm_q = nn.LayerNorm(head_dim)
        self.norm_k = nn.LayerNorm(head_dim)
        self.to_q = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_k = nn.Linear(dim, kv_heads * head_dim, bias=False)
        self.to_v = nn.Linear(dim, kv_heads * head_dim, bias=False)
        self.to_out = nn.ModuleList([])
        self.to_out.append(nn.Linear(heads * head_dim, dim))
        self.to_out.append(nn.Dropout(0.0))

    def forward(self, hidden_states):
        query = self.to_q(hidden_states)
        key = self.to_k(hidden_states)
        value = self.to_v(hidden_states)
        query = self.norm_q(query.unflatten(-1, (self.heads, -1)))
        key = self.norm_k(key.unflatten(-1, (self.kv_heads, -1)))
        value = value.unflatten(-1, (self.kv_heads, -1))
        hidden_states = dispatch_attention_fn(query, key, value, enable_gqa=True)
        hidden_states = self.to_out[0](hidden_states.flatten(2))
        hidden_states = self.to_out[1](hidden_states)
        return hidden_states


class CrossAttention(nn.Module):
    def __init__(self, dim: int, context_dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.to_q = nn.Linear(dim, heads * head_dim)
        self.to_k = nn.Linear(context_dim, heads * head_dim)
        self.to_v = nn.Linear(context_dim, heads * head_dim)
        self.to_out = nn.Linear(heads * head_dim, dim)

    def forward(self, hidden_states, encoder_hidden_states):
        batch, tokens, _ = encoder_hidden_states.shape
        query = self.to_q(hidden_states).view(batch, -1, self.heads, self.head_dim)
        key = self.to_k(encoder_hidden_states).view(batch, tokens, self.heads, self.head_dim)
        value = self.to_v(encoder_hidden_states).view(batch, tokens, self.heads, self.head_dim)
        hidden_states = dispatch_attention_fn(query, key, value)
        return self.to_out(hidden_states.flatten(2, 3))


class GatedFeedForward(nn.Module):
    def __init__(self, dim: int, inner_dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, inner_dim * 2)
        self.dropout = nn.Dropout(0.1)
        self.down = nn.Linear(inner_dim, dim)

    def forward(self, hidden_states):
        hidden_states, gate = self.proj(hidden_states).chunk(2, dim=-1)
        hidden_states = self.dropout(hidden_states * F.silu(gate))
        return self.down(hidden_states)


class CanvasBlock(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int, head_dim: int, mult: int = 3):
        super().__init__()
        self.norm1 = Modulation(dim)
        self.attn1 = SelfAttention(dim, heads, kv_heads, head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = CrossAttention(dim, dim, heads, head_dim)
        self.norm3 = Modulation(dim)
        self.ff = GatedFeedForward(dim, dim * mult)

    def forward(self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, temb) -> torch.Tensor:
        normed, gate = self.norm1(hidden_states, temb)
        hidden_states = hidden_states + gate * self.attn1(normed)
        hidden_states = hidden_states + self.attn2(self.norm2(hidden_states), encoder_hidden_states)
        normed, gate = self.norm3(hidden_states, temb)
        return hidden_states + gate * self.ff(normed)


class CanvasTransformer(nn.Module):
    _no_split_modules = ["CanvasBlock"]

    def __init__(
        self,
        channels: int = 8,
        context_channels: int = 12,
        num_layers: int = 2,
        num_heads: int = 4,
        num_kv_heads: int = 2,
        head_dim: int = 8,
    ):
        super().__init__()
        dim = num_heads * head_dim
        self.x_embedder = nn.Linear(channels, dim)
        self.context_embedder = nn.Linear(context_channels, dim)
        self.pooled_embedder = nn.Linear(context_channels, dim)
        self.blocks = nn.ModuleList(
            [CanvasBlock(dim, num_heads, num_kv_heads, head_dim) for _ in range(num_layers)]
        )
        self.norm_out = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, channels)

    def forward(self, hidden_states, encoder_hidden_states=None, pooled_projections=None, return_dict=True):
        hidden_states = self.x_embedder(hidden_states)
        encoder_hidden_states = self.context_embedder(encoder_hidden_states)
        temb = F.silu(self.pooled_embedder(pooled_projections))
        for block in self.blocks:
            hidden_states = block(hidden_states, encoder_hidden_states, temb)
        output = self.proj_out(self.norm_out(hidden_states))
        return (output,)
"""

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def normal_form(code: str, root: str) -> NormalForm:
    """A normal form whose lines are their own origin."""
    count = code.count("\n") + 1
    return NormalForm(code, root, tuple(Origin("own.py", line + 1) for line in range(count)))


def block_model(init: str, forward: str, *, extra: str = "", params: str = "") -> NormalForm:
    """A model of one repeated block: ``init`` and ``forward`` are the bodies of the block's methods.

    Sizes: ``dim`` = heads * head_dim; the block's forward takes ``x`` [B, S, dim], ``temb`` [B, dim] and ``context``
    [B, T, dim], and has to return a tensor like ``x``.
    """
    code = (
        HEAD
        + "from diffusers.models.attention_dispatch import dispatch_attention_fn\n"
        + textwrap.dedent(extra)
        + "\n\nclass Block(nn.Module):\n"
        + "    def __init__(self, dim: int, heads: int, head_dim: int):\n        super().__init__()\n"
        + textwrap.indent(textwrap.dedent(init).strip(), "        ")
        + "\n\n    def forward(self, x, temb, context):\n"
        + textwrap.indent(textwrap.dedent(forward).strip(), "        ")
        + "\n\n\nclass Root(nn.Module):\n"
        + "    def __init__(self, channels: int = 4, heads: int = 2, head_dim: int = 4, depth: int = 2):\n"
        + "        super().__init__()\n        self.proj_in = nn.Linear(channels, heads * head_dim)\n"
        + "        self.context_in = nn.Linear(channels, heads * head_dim)\n"
        + "        self.blocks = nn.ModuleList([Block(heads * head_dim, heads, head_dim) for _ in range(depth)])\n"
        + "        self.proj_out = nn.Linear(heads * head_dim, channels)\n\n"
        + f"    def forward(self, hidden_states, encoder_hidden_states, pooled_projections{params}):\n"
        + "        x = self.proj_in(hidden_states)\n"
        + "        context = self.context_in(encoder_hidden_states)\n"
        + "        for block in self.blocks:\n"
        + "            x = block(x, pooled_projections, context)\n"
        + "        return (self.proj_out(x),)\n"
    )
    return normal_form(code, "Root")


def roles(plan: ParallelPlan, cls: str = "Block") -> dict[str, str]:
    """Role of each linear of a class."""
    prefix = f"{cls}."
    return {p.path[len(prefix) :]: p.role for p in plan.linears if p.path.startswith(prefix)}


def transformer_plan(normal: NormalForm, plan: ParallelPlan) -> TransformerPlan:
    """``plan`` as a transformer plan with nothing else in it."""
    return TransformerPlan(
        class_name=normal.root,
        module="own",
        parameters=(),
        forward=(),
        dropped=(),
        classes=(),
        linears=plan.linears,
        attentions=plan.attentions,
        weights=plan.weights,
        sp=plan.sp,
        region=plan.region,
        slices=plan.slices,
        convs=plan.convs,
        blocks=plan.blocks,
        features=plan.features,
        decisions=plan.decisions,
    )


def port_text(normal: NormalForm, *, attributes: tuple[str, ...] = (), separate_cfg: bool = False) -> str:
    """The port's transformer file of ``normal``."""
    plan = transformer_plan(normal, plan_parallel(normal))
    return render_transformer(normal, plan, header="# Copyright", attributes=attributes, separate_cfg=separate_cfg)


def mixed() -> NormalForm:
    """Blocks with a fused projection cut by a view, a scale for each head, a projection between whole tokens, and a
    feed-forward of convolutions."""
    mix = """
    class Mix(nn.Module):
        def __init__(self, dim: int):
            super().__init__()
            self.norm = nn.LayerNorm(dim)
            self.merge = nn.Linear(2 * dim, dim)
            self.up = nn.Conv2d(dim, 4 * dim, 1, 1, 0)
            self.depth = nn.Conv2d(4 * dim, 4 * dim, 3, 1, 1, groups=4 * dim)
            self.down = nn.Conv2d(2 * dim, dim, 1, 1, 0, bias=False)
            self.around = nn.Conv2d(dim, dim, 3, 1, 1)

        def forward(self, x, y):
            x = self.norm(self.merge(torch.cat([x, y], dim=-1)))
            z = x.unflatten(1, (3, -1)).permute(0, 3, 1, 2)
            z, gate = self.depth(F.silu(self.up(z))).chunk(2, dim=1)
            z = self.down(z * F.silu(gate))
            z = z + self.around(z)
            return x + z.flatten(2, 3).permute(0, 2, 1)
    """
    init = """
    self.heads = heads
    self.head_dim = head_dim
    self.qkv = nn.Linear(dim, 3 * dim)
    self.scale = nn.Parameter(torch.ones(heads))
    self.to_out = nn.Linear(dim, dim)
    self.mix = Mix(dim)
    """
    forward = """
    b, n, _ = x.shape
    qkv = self.qkv(x).reshape(b, n, 3, self.heads, self.head_dim).permute(2, 0, 1, 3, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    scale = (1 + self.scale).view(1, 1, -1, 1)
    y = self.to_out(dispatch_attention_fn(q * scale, k * scale, v).flatten(2))
    return self.mix(x, y)
    """
    return block_model(init, forward, extra=mix)


def across_heads() -> NormalForm:
    """Blocks of self and cross attention whose queries and keys are normalised over all heads, one kind each; the scale
    of the second is known at run time only, so that its call stays the reference's."""
    names = {"": "RMSNorm(dim)", "c_": "LayerNorm(dim, eps=1e-6)"}
    init = ["self.heads = heads"]
    for name, norm in names.items():
        init += [f"self.{name}norm_{part} = nn.{norm}" for part in "qk"]
        init += [f"self.{name}to_{part} = nn.Linear(dim, dim)" for part in ("q", "k", "v", "out")]
    forward = []
    for name, source in (("", "x"), ("c_", "context")):
        forward += [f"{part} = self.{name}to_{part}({'x' if part == 'q' else source})" for part in "qkv"]
        forward += [f"{part} = self.{name}norm_{part}({part})" for part in "qk"]
        forward += [f"{part} = {part}.unflatten(2, (self.heads, -1))" for part in "qkv"]
        scale = ", scale=float(q.shape[-1]) ** -0.5" if name else ""
        forward.append(f"x = x + self.{name}to_out(dispatch_attention_fn(q, k, v{scale}).flatten(2))")
    return block_model("\n".join(init), "\n".join([*forward, "return x"]))


def joint() -> NormalForm:
    """Blocks that attend to two streams together: a number cuts them apart again, a mask is over the keys of both."""
    init = """
    self.heads = heads
    self.to_q = nn.Linear(dim, dim)
    self.to_k = nn.Linear(dim, dim)
    self.to_v = nn.Linear(dim, dim)
    self.to_out = nn.Linear(dim, dim)
    """
    forward = """
    both = torch.cat([context, x], dim=1)
    q = self.to_q(both).unflatten(2, (self.heads, -1))
    k = self.to_k(both).unflatten(2, (self.heads, -1))
    v = self.to_v(both).unflatten(2, (self.heads, -1))
    both = both + self.to_out(dispatch_attention_fn(q, k, v, attn_mask=mask[:, None, None, :]).flatten(2))
    return both[:, count:], both[:, :count]
    """
    code = block_model(init, forward, params=", mask: torch.Tensor").code
    code = code.replace("def forward(self, x, temb, context)", "def forward(self, x, context, count, mask)")
    code = code.replace("x = block(x, pooled_projections, context)", "x, context = block(x, context, count, mask)")
    before = "        count = context.shape[1]\n        for block"
    return normal_form(code.replace("        for block", before), "Root")


def noted() -> NormalForm:
    """Blocks that attend to themselves and to a context, in whose place the tokens stand where none is given."""
    names = ("to_q", "to_k", "to_v", "to_out", "c_to_q", "c_to_k", "c_to_v", "c_to_out")
    init = ["self.heads = heads", *(f"self.{name} = nn.Linear(dim, dim)" for name in names)]
    forward = ["if context is None:", "    context = x"]
    for name, source in (("", "x"), ("c_", "context")):
        forward += [
            f"{part} = self.{name}to_{part}({'x' if part == 'q' else source}).unflatten(2, (self.heads, -1))"
            for part in "qkv"
        ]
        forward.append(f"x = x + self.{name}to_out(dispatch_attention_fn(q, k, v).flatten(2))")
    code = block_model("\n".join(init), "\n".join([*forward, "return x"])).code
    old = "        context = self.context_in(encoder_hidden_states)\n"
    new = "        context = encoder_hidden_states\n        if context is not None:\n    " + old
    new = new.replace("(encoder_hidden_states)", "(context)")
    code = code.replace(
        "encoder_hidden_states, pooled_projections)", "encoder_hidden_states=None, pooled_projections=None)"
    )
    return normal_form(code.replace(old, new), "Root")
