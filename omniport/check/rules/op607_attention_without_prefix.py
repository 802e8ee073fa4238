"""OP607: the attention layer has no name."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port, attention_names, is_attention
from omniport.check.source import has_star, keyword, method, parameters


class AttentionWithoutPrefix(Rule):
    """``Attention`` is built without ``prefix`` in a class that is given one.

    Why: KV-cache quantisation chooses the layers to skip by the block's index in the prefix, and the choice of a
    backend per layer goes by it too; a layer without one is treated like all others.  Of the ports of vllm-omni 0.30.0
    with a diffusers counterpart only Wan2.2, LTX-2, SANA-Video, SDXL and one part of Cosmos3 pass it.

    Fix: ``Attention(..., prefix=f"{prefix}.attn")``.
    """

    code = "OP607"
    name = "attention-without-prefix"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, prefix=""):
                self.attn = Attention(
                    num_heads=4, head_size=16, causal=False, softmax_scale=0.25, prefix=f"{prefix}.attn"
                )
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, prefix=""):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, heads, quant_config=None, prefix=""):
                self.to_qkv = QKVParallelLinear(64, 16, heads, quant_config=quant_config, prefix=f"{prefix}.to_qkv")
                self.attn = Attention(self.to_qkv.num_heads, 16, False, 0.25)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("Attention"):
                continue
            for call in file.calls(*attention_names(file)):
                cls = file.enclosing_class(call)
                if cls is None or not is_attention(file, call) or has_star(call) or keyword(call, "prefix") is not None:
                    continue
                if len(call.args) < 6 and "prefix" in parameters(method(cls, "__init__")):
                    yield self.at(file, call, f"{cls.name} takes a prefix and gives its attention none")
