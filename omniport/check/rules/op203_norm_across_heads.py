"""OP203: a norm across all heads is computed on one rank's share of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import layers
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, keyword, last_name

_QK = re.compile(r"(^|_)(q|k|query|key)(_|$)")
_NORMS = frozenset({"FP32LayerNorm", "LayerNorm", "RMSNorm"})


class NormAcrossHeads(Rule):
    """A norm across all heads of query or key is computed on one rank's share of them.

    A plain ``RMSNorm`` or ``LayerNorm`` of query or key has the width of the whole column-parallel projection.

    Why: with TP the projection gives each rank ``width / tp_size`` columns: the norm's weight does not fit them, or,
    where it is cut to fit, each rank divides by the mean of its own columns and the result differs from one rank's.
    Wan2.2 and SANA-Video of vllm-omni 0.30.0 sum the squares over the ranks; norms of merged ports: #735, #4439.

    Fix: a norm that all-reduces the sum of squares over the ranks and holds this rank's part of the weight; a norm
    over ``head_dim`` alone needs nothing.
    """

    code = "OP203"
    name = "norm-across-heads"
    VALID = (
        """
        class SelfAttention:
            def __init__(self, dim, heads, head_dim):
                self.to_q = ColumnParallelLinear(dim, heads * head_dim)
                self.norm_q = RMSNorm(head_dim)
        """,
        """
        class SelfAttention:
            def __init__(self, dim):
                self.to_q = ColumnParallelLinear(dim, dim)
                self.norm_q = DistributedRMSNorm(dim)
        """,
        """
        class SelfAttention:
            def __init__(self, dim):
                self.to_q = ReplicatedLinear(dim, dim)
                self.norm_q = RMSNorm(dim)
        """,
    )
    INVALID = (
        """
        class SelfAttention:
            def __init__(self, dim):
                self.to_q = ColumnParallelLinear(dim, dim)
                self.norm_q = RMSNorm(dim)
        """,
        """
        class CrossAttention:
            def __init__(self, dim, heads, head_dim):
                self.inner_dim = heads * head_dim
                self.to_k = ColumnParallelLinear(dim, output_size=self.inner_dim, bias=False)
                self.norm_k = nn.LayerNorm(self.inner_dim, eps=1e-6)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("ColumnParallelLinear"):
                continue
            for cls in file.nodes(ast.ClassDef):
                widths = {ast.dump(w) for _, call in layers(cls) if (w := _sharded_width(call)) is not None}
                for name, call in layers(cls) if widths else ():
                    if last_name(call.func) not in _NORMS or "norm" not in name or not _QK.search(name):
                        continue
                    width = call.args[0] if call.args else keyword(call, "hidden_size")
                    if width is not None and ast.dump(width) in widths and not _own(port, file, call):
                        yield self.at(file, call, f"{name} spans all heads, but each rank holds its share of them")


def _sharded_width(call: ast.Call) -> ast.expr | None:
    """The width over all ranks of what a column-parallel layer gives one rank a share of."""
    if last_name(call.func) != "ColumnParallelLinear" or keyword(call, "disable_tp") is not None:
        return None
    if constant(keyword(call, "gather_output")) is True:
        return None
    return call.args[1] if len(call.args) > 1 else keyword(call, "output_size")


def _own(port: Port, file: SourceFile, call: ast.Call) -> bool:
    """Whether the port defines the norm itself: it may reduce."""
    return isinstance(call.func, ast.Name) and port.find_class(call.func.id, file) is not None
