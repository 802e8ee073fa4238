"""OP205: the pair that a parallel linear returns is used as a tensor."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import layers
from omniport.check.port import LINEARS, Port
from omniport.check.source import SourceFile, dotted, has_star, keyword, last_name


class LinearTupleUsed(Rule):
    """The pair that a parallel linear returns is used as a tensor.

    The layer is built without ``return_bias=False``, and its result is computed with, sent a tensor's method or given
    to another layer of the class at once.

    Why: vLLM's linears return ``(output, bias)`` unless told not to; the next layer gets a tuple and raises on the
    first request (vllm-omni 0.30.0 unpacks ``out, _ = layer(x)`` or passes ``return_bias=False`` everywhere).

    Fix: ``return_bias=False`` where the layer is built.
    """

    code = "OP205"
    name = "linear-tuple-used"
    VALID = (
        """
        class FeedForward:
            def __init__(self):
                self.up = ColumnParallelLinear(64, 256, return_bias=False)
            def forward(self, x):
                return self.act(self.up(x))
        """,
        """
        class FeedForward:
            def __init__(self):
                self.up = ColumnParallelLinear(64, 256)
            def forward(self, x):
                x, _ = self.up(x)
                return self.down(self.up(x)[0])
        """,
    )
    INVALID = (
        """
        class FeedForward:
            def __init__(self):
                self.up = ColumnParallelLinear(64, 256)
            def forward(self, x):
                return self.act(self.up(x))
        """,
        """
        class Modulation:
            def __init__(self):
                self.proj = ReplicatedLinear(64, 384)
            def forward(self, x):
                return self.proj(x).chunk(6, dim=-1)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not any(file.mentions(name) for name in LINEARS):
                continue
            for cls in file.nodes(ast.ClassDef):
                pairs: set[str] = set()
                others: set[str] = set()
                for name, call in layers(cls):
                    pair = last_name(call.func) in LINEARS and not has_star(call) and not keyword(call, "return_bias")
                    (pairs if pair and isinstance(call.func, ast.Name) else others).add(name)
                for name in pairs - others:
                    yield from self._uses(file, cls, name)

    def _uses(self, file: SourceFile, cls: ast.ClassDef, name: str) -> Iterator[Finding]:
        for call in file.nodes(ast.Call, within=cls):
            if dotted(call.func) != f"self.{name}":
                continue
            parent = file.parent(call)
            layer = isinstance(parent, ast.Call) and dotted(parent.func).startswith("self.") and call in parent.args
            if layer or isinstance(parent, ast.BinOp | ast.Attribute):
                yield self.at(file, call, f"self.{name} returns (output, bias): build it with return_bias=False")
