"""OP201: Attention is told the heads of all ranks although its projections are sharded."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port, attention_names, is_attention
from omniport.check.source import SourceFile, constant, dotted, keyword, method, parameters, walk

_SHARDED = ("QKVParallelLinear", "ColumnParallelLinear", "MergedColumnParallelLinear")


class AttentionTotalHeads(Rule):
    """``Attention`` is told the heads of all ranks although its projections are sharded.

    ``num_heads`` is a constructor parameter, or an attribute that only holds one, in a class whose query projection
    is a sharded layer: each rank then holds ``num_heads / tp_size`` of them.

    Why: the layer hands the number to its backends, which size buffers and choose kernels by it (FlashAttention's
    paged path, TRT-LLM, VSA), and to the KV-cache geometry.  With TP the tensors do not match.  So in
    LongCat-Image and the SDXL UNet of vllm-omni 0.30.0; tensor-parallel ports were corrected in #735, #964 and #1372.

    Fix: ``num_heads=self.to_qkv.num_heads, num_kv_heads=self.to_qkv.num_kv_heads``, or divide by the TP size.
    """

    code = "OP201"
    name = "attention-given-total-heads"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, heads, head_dim):
                self.to_qkv = QKVParallelLinear(heads * head_dim, head_dim, heads)
                self.attn = Attention(num_heads=self.to_qkv.num_heads, head_size=head_dim)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, heads, head_dim):
                self.to_q = ColumnParallelLinear(heads * head_dim, heads * head_dim)
                self.heads = heads // get_tensor_model_parallel_world_size()
                self.attn = Attention(num_heads=self.heads, head_size=head_dim)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Replicated:
            def __init__(self, heads, head_dim):
                self.to_q = ReplicatedLinear(heads * head_dim, heads * head_dim)
                self.attn = Attention(num_heads=heads, head_size=head_dim)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Replicated:
            def __init__(self, heads, head_dim):
                self.to_qkv = QKVParallelLinear(heads * head_dim, head_dim, heads, disable_tp=True)
                self.attn = Attention(num_heads=heads, head_size=head_dim)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, heads, head_dim):
                self.to_qkv = QKVParallelLinear(heads * head_dim, head_dim, heads)
                self.attn = Attention(num_heads=heads, head_size=head_dim)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self, dim, heads, head_dim, out_dim=None):
                self.heads = out_dim // head_dim if out_dim is not None else heads
                self.to_q = ColumnParallelLinear(dim, self.heads * head_dim)
                self.attn = Attention(num_heads=self.heads, head_size=head_dim)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for call in file.calls(*attention_names(file)):
                cls = file.enclosing_class(call)
                if cls is None or not is_attention(file, call) or not _sharded(file, cls):
                    continue
                heads = keyword(call, "num_heads")
                if heads is not None and _total(heads, cls):
                    message = (
                        f"num_heads={ast.unparse(heads)} counts the heads of all ranks, {cls.name} holds its share"
                    )
                    yield self.at(file, call, message)


def _sharded(file: SourceFile, cls: ast.ClassDef) -> bool:
    """Whether the class builds a column-parallel layer that neither gathers its output nor opts out of TP."""
    for call in file.calls(*_SHARDED, within=cls):
        if constant(keyword(call, "gather_output")) is True or keyword(call, "disable_tp") is not None:
            continue
        return True
    return False


def _total(heads: ast.expr, cls: ast.ClassDef) -> bool:
    """Whether an expression is surely the number over all ranks: only constructor parameters flow into it."""
    init = method(cls, "__init__")
    if init is None:
        return False
    assigned: dict[str, list[ast.expr]] = {}
    for node in walk(init):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name in _targets(target):
                    # unpacking hides what each name gets
                    assigned.setdefault(name, []).append(node.value if not isinstance(target, ast.Tuple) else target)
    known, pending, seen = set(parameters(init)), [heads], set[str]()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name | ast.Attribute):
            name = dotted(node)
            if name in seen:
                continue
            seen.add(name)
            if name in assigned:
                pending += assigned[name]
            elif name not in known:
                return False
        elif isinstance(node, ast.IfExp):
            pending += [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp):
            pending += node.values
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
            pending += [node.left, node.right]
        else:
            return False
    return not any("tp" in part or "local" in part or "partition" in part for s in seen for part in s.split("_"))


def _targets(target: ast.expr) -> list[str]:
    return [dotted(t) for t in (target.elts if isinstance(target, ast.Tuple) else [target])]
