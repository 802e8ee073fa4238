"""OP801: the attention layer is built without an argument that it needs."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port, attention_names, is_attention
from omniport.check.source import has_star, keyword

_REQUIRED = ("num_heads", "head_size", "causal", "softmax_scale")


class AttentionArgumentsMissing(Rule):
    """``Attention`` is built without an argument that it needs.

    ``num_heads``, ``head_size``, ``causal`` or ``softmax_scale`` is given neither by place nor by name.

    Why: all four are required, in vllm-omni 0.30.0 as in every release since 0.14, and the constructor raises a
    TypeError when the server starts; diffusers' attention has defaults for the last two, so they are easy to forget.

    Fix: ``Attention(num_heads=..., head_size=head_dim, causal=False, softmax_scale=head_dim**-0.5)``.
    """

    code = "OP801"
    name = "attention-arguments-missing"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        def build(heads, dim):
            return Attention(num_heads=heads, head_size=dim, causal=False, softmax_scale=dim**-0.5)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        def build(heads, dim):
            return Attention(heads, dim, False, dim**-0.5, num_kv_heads=heads)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        def build(heads, dim):
            return Attention(num_heads=heads, head_size=dim, causal=False)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        def build(heads, dim):
            return Attention(heads, dim, softmax_scale=dim**-0.5)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("Attention"):
                continue
            for call in file.calls(*attention_names(file)):
                if not is_attention(file, call) or has_star(call):
                    continue
                missing = [n for n in _REQUIRED[len(call.args) :] if keyword(call, n) is None]
                if missing:
                    yield self.at(file, call, f"Attention needs {', '.join(missing)} too")
