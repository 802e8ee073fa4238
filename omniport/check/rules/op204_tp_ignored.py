"""OP204: tensor parallelism is accepted and does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port, attention_names, is_attention
from omniport.check.source import SourceFile, constant, keyword

_SHARDS = ("ColumnParallelLinear", "MergedColumnParallelLinear", "QKVParallelLinear", "RowParallelLinear")
_ASKS = re.compile(r"tensor_parallel|get_tensor_model_parallel|\btp_size\b")


class TpIgnored(Rule):
    """Tensor parallelism is accepted and does nothing.

    The port computes attention in vLLM-Omni's layer, has no sharded linear in any file, and nowhere asks for the
    number of ranks.

    Why: with ``--tensor-parallel-size 2`` every rank holds all weights and computes the whole model; twice the memory
    and no gain, and no message.  Krea 2, Ovis and Stable Audio of vllm-omni 0.30.0 replicate everything; #735 and #964
    added what merged ports lacked.

    Fix: shard attention and feed-forward, or refuse: raise where ``get_tensor_model_parallel_world_size() > 1``.
    """

    code = "OP204"
    name = "tp-ignored"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
                self.attn = Attention(num_heads=self.to_qkv.num_heads, head_size=16, causal=False, softmax_scale=0.25)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                if get_tensor_model_parallel_world_size() > 1:
                    raise ValueError("not sharded")
                self.to_q = ReplicatedLinear(64, 64)
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_q = ReplicatedLinear(64, 64)
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_qkv = nn.Linear(64, 192)
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if any(_ASKS.search(file.text) or _shards(file) for file in port.files):
            return
        for file in port.files:
            if file.mentions("Attention"):
                for call in file.calls(*attention_names(file)):
                    if is_attention(file, call):
                        yield self.at(file, call, "no layer is sharded, and more than one rank is not refused")
                        return


def _shards(file: SourceFile) -> bool:
    """Whether a file names a sharded linear that is not told to stay whole, wherever it is then built."""
    if not any(file.mentions(name) for name in _SHARDS):
        return False
    calls = list(file.calls(*_SHARDS))
    return not calls or any(constant(keyword(call, "disable_tp")) is not True for call in calls)
