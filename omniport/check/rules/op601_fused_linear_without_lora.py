"""OP601: a LoRA trained on q, k, v finds no target in a fused projection."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port, attention_names, is_attention
from omniport.check.source import SourceFile, class_attributes

_MAPPING = "stacked_params_mapping"
_PACKED = "packed_modules_mapping"


class FusedLinearWithoutLora(Rule):
    """A LoRA trained on q, k and v finds no target in a fused projection.

    A transformer file builds fused linears whose parts the checkpoint names, and no object gets an attribute
    ``stacked_params_mapping``: it is a local variable of ``load_weights``, or missing.

    Why: the LoRA manager learns which parts a fused layer is made of from that attribute alone (diffusion/lora/
    manager.py); ``packed_modules_mapping`` does not count.  Without it, adapters on ``to_q``, ``to_k``, ``to_v`` are
    taken for unknown modules.  So in FLUX, HunyuanVideo 1.5, Helios and HiDream of vllm-omni 0.30.0.

    Fix: ``self.stacked_params_mapping = [(".to_qkv", ".to_q", "q"), ...]`` in the transformer, or as class attribute.
    """

    code = "OP601"
    name = "fused-linear-without-lora"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
                self.attn = Attention(num_heads=self.to_qkv.num_heads, head_size=16)
        class Transformer:
            def load_weights(self, weights):
                self.stacked_params_mapping = [(".to_qkv.", ".to_q.", "q")]
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
                self.attn = Attention(num_heads=self.to_qkv.num_heads, head_size=16)
        class Transformer:
            stacked_params_mapping = [(".to_qkv.", ".to_q.", "q")]
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class FusedInTheCheckpointToo:
            def __init__(self):
                self.qkv = QKVParallelLinear(64, 16, 4)
                self.attn = Attention(num_heads=self.qkv.num_heads, head_size=16)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class CrossAttention:
            def __init__(self):
                self.to_q = ColumnParallelLinear(64, 64)
                self.attn = Attention(num_heads=4, head_size=16)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
                self.attn = Attention(num_heads=self.to_qkv.num_heads, head_size=16)
        class Transformer:
            packed_modules_mapping = {"to_qkv": ["to_q", "to_k", "to_v"]}
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
                self.attn = Attention(num_heads=self.to_qkv.num_heads, head_size=16)
        class Transformer:
            def load_weights(self, weights):
                stacked_params_mapping = [(".to_qkv.", ".to_q.", "q")]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        declared = {file.path for file in port.files if _declares(file)}
        transformers = {file.path for file, _ in port.transformers}
        parts = any(file.mentions(_MAPPING) or file.mentions(_PACKED) or _names_parts(file) for file in port.files)
        for file in port.files:
            if file.path in declared:
                continue
            fused = next(file.calls("QKVParallelLinear", "MergedColumnParallelLinear"), None)
            if fused is None or not (_has_attention(file) or file.path in transformers):
                continue
            if not parts:
                continue
            # a mapping of another file of the port may be for this one's layers, unless this one keeps its own
            if declared and not file.mentions(_MAPPING):
                continue
            yield self.at(file, fused, "no attribute stacked_params_mapping: LoRAs on parts of this layer are dropped")


def _has_attention(file: SourceFile) -> bool:
    return any(is_attention(file, call) for call in file.calls(*attention_names(file)))


def _names_parts(file: SourceFile) -> bool:
    """Whether a file loads shards under other names: then its checkpoints, and LoRAs, do not know the fused name."""
    return any(len(call.args) == 3 for call in file.calls("weight_loader"))


def _declares(file: SourceFile) -> bool:
    if not file.mentions(_MAPPING):
        return False
    targets = [t for node in file.nodes(ast.Assign) for t in node.targets]
    targets += [node.target for node in file.nodes(ast.AnnAssign)]
    if any(isinstance(t, ast.Attribute) and t.attr == _MAPPING for t in targets):
        return True
    return any(_MAPPING in class_attributes(cls) for cls in file.nodes(ast.ClassDef))
