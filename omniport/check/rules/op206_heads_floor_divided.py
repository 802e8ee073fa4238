"""OP206: heads are divided by the number of ranks with the rest thrown away."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, last_name

_SIZES = frozenset({"get_tensor_model_parallel_world_size", "tensor_parallel_size", "tp_size", "tp_world_size"})


class HeadsFloorDivided(Rule):
    """Heads are divided by the number of ranks with the rest thrown away.

    ``heads // tp_size`` in a file that nowhere takes a remainder by the number of ranks, nor calls ``divide`` or
    builds a ``QKVParallelLinear``, which divide with a test.

    Why: 30 heads on 4 ranks are 7 each: the reshape fails deep in the first block, or, where the width divides though
    the heads do not, mixes parts of two heads.  A user cannot tell from the message which sizes would work.  #735,
    #964 and #1372 added the test to merged ports.

    Fix: ``if heads % tp_size: raise ValueError(...)`` in the constructor, naming the sizes that work; or vLLM's
    ``divide``, or the layer's own ``to_qkv.num_heads``.
    """

    code = "OP206"
    name = "heads-floor-divided"
    VALID = (
        """
        class SelfAttention:
            def __init__(self, num_heads):
                tp_size = get_tensor_model_parallel_world_size()
                if num_heads % tp_size:
                    raise ValueError(f"{num_heads} heads do not divide over {tp_size} ranks")
                self.num_heads = num_heads // tp_size
        """,
        """
        class SelfAttention:
            def __init__(self, num_heads):
                self.num_heads = divide(num_heads, get_tensor_model_parallel_world_size())
        """,
    )
    INVALID = (
        """
        class SelfAttention:
            def __init__(self, num_heads):
                self.num_heads = num_heads // get_tensor_model_parallel_world_size()
        """,
        """
        class SelfAttention:
            def __init__(self, heads):
                self.tp_size = get_tensor_model_parallel_world_size()
                self.local_heads = heads // self.tp_size
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("//") or not any(file.mentions(size) for size in _SIZES) or _tests(file):
                continue
            for node in file.nodes(ast.BinOp):
                if isinstance(node.op, ast.FloorDiv) and _is_size(node.right) and "head" in ast.unparse(node.left):
                    yield self.at(file, node, f"{ast.unparse(node)} drops the rest, and nothing tests for one")
                    break


def _tests(file: SourceFile) -> bool:
    """Whether a file asks anywhere whether something divides by the number of ranks; QKVParallelLinear does."""
    if next(file.calls("divide", "QKVParallelLinear"), None) is not None:
        return True
    return any(isinstance(n.op, ast.Mod) and _is_size(n.right) for n in file.nodes(ast.BinOp))


def _is_size(node: ast.expr) -> bool:
    return last_name(node.func if isinstance(node, ast.Call) else node) in _SIZES
