"""OP805: a transformer that splits the sequence computes attention past vLLM-Omni's layer."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.plans import plans
from omniport.check.port import Port
from omniport.check.source import last_name

_RAW = ("scaled_dot_product_attention", "dispatch_attention_fn", "memory_efficient_attention")


class RawAttention(Rule):
    """A transformer that splits the sequence over ranks computes attention past vLLM-Omni's layer.

    The file of a class with a ``_sp_plan`` that has entries calls ``F.scaled_dot_product_attention``,
    ``dispatch_attention_fn`` or xformers.

    Why: the layer alone exchanges tokens with the other ranks; any other function attends to this rank's part, and
    the image is wrong without an error.  The user's choice of a backend does not reach it either; #2572 and #3728
    moved attention of merged ports to the layer.

    Fix: ``self.attn = Attention(...)`` and ``self.attn(q, k, v, AttentionMetadata(attn_mask=mask))``, tokens first.
    """

    code = "OP805"
    name = "raw-attention"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Transformer(nn.Module):
            _sp_plan = {"proj_out": SequenceParallelOutput(gather_dim=1)}
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
        """,
        """
        class Transformer(nn.Module):
            def forward(self, q, k, v):
                return F.scaled_dot_product_attention(q, k, v)
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _sp_plan = {"proj_out": SequenceParallelOutput(gather_dim=1)}
            def forward(self, q, k, v):
                return F.scaled_dot_product_attention(q, k, v)
        """,
        """
        class Attn(nn.Module):
            def forward(self, q, k, v):
                return dispatch_attention_fn(q, k, v)
        class Transformer(nn.Module):
            _sp_plan = {"": {"x": SequenceParallelInput(split_dim=1)}}
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in {file.path: file for file, _, _ in plans(port)}.values():
            if any(file.mentions(name) for name in _RAW):
                for call in file.calls(*_RAW):
                    yield self.at(file, call, f"{last_name(call.func)} attends to this rank's tokens only")
