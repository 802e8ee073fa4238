"""OP602: parallel linears are built without quant_config or prefix."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import LINEARS, Port
from omniport.check.source import SourceFile, dotted, has_star, keyword


class LinearWithoutQuantConfig(Rule):
    """Parallel linears are built without ``quant_config`` or ``prefix``.

    One finding per class, at its first such layer.  ``quant_config=None`` is fine, and needs no prefix: it says that
    the layer is to stay in full precision.

    Why: a linear without ``quant_config`` loads in full precision whatever the user asked for, so that a quantised
    checkpoint fails on it or the memory saved is lost; without ``prefix`` a method cannot tell one layer from
    another, and ignored layers of a checkpoint are quantised.  The most frequent fix to merged ports: #2795, #2180,
    #3587, #4245, #2913; LongCat-Image, SD3, HiDream and SDXL of vllm-omni 0.30.0 thread neither.

    Fix: ``quant_config=quant_config, prefix=f"{prefix}.to_qkv"`` in each layer, down from the pipeline.
    """

    code = "OP602"
    name = "linear-without-quant-config"
    VALID = (
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.up = ColumnParallelLinear(dim, 4 * dim, quant_config=quant_config, prefix=f"{prefix}.up")
        """,
        """
        class Out:
            def __init__(self, dim, prefix=""):
                self.proj = ReplicatedLinear(dim, dim, quant_config=None)
        """,
        """
        class Many:
            def __init__(self, dim, **kwargs):
                self.proj = ColumnParallelLinear(dim, dim, **kwargs)
        """,
        """
        class TextProjection:
            def __init__(self, dim):
                self.proj = nn.Linear(dim, dim)
        """,
    )
    INVALID = (
        """
        class FeedForward:
            def __init__(self, dim):
                self.up = ColumnParallelLinear(dim, 4 * dim)
                self.down = RowParallelLinear(4 * dim, dim)
        """,
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.up = ColumnParallelLinear(dim, 4 * dim, quant_config=quant_config, prefix=f"{prefix}.up")
                self.down = RowParallelLinear(4 * dim, dim, prefix=f"{prefix}.down")
        """,
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None):
                self.up = ColumnParallelLinear(dim, 4 * dim, quant_config=quant_config)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            lacking: dict[ast.ClassDef, list[tuple[ast.Call, list[str]]]] = {}
            for call in file.calls(*LINEARS):
                cls = file.enclosing_class(call)
                missing = [name for name in ("quant_config", "prefix") if keyword(call, name) is None]
                if "quant_config" not in missing and _none(keyword(call, "quant_config")):
                    continue
                if cls is not None and missing and not has_star(call) and isinstance(call.func, ast.Name):
                    lacking.setdefault(cls, []).append((call, missing))
            for cls, calls in lacking.items():
                names = sorted({name for _, missing in calls for name in missing}, reverse=True)
                layers = ", ".join(_attribute(file, call) for call, _ in calls)
                message = f"{cls.name}: {len(calls)} linear(s) without {' or '.join(names)}: {layers}"
                yield self.at(file, calls[0][0], message)


def _none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _attribute(file: SourceFile, call: ast.Call) -> str:
    """The attribute that takes the layer, or its type."""
    for parent in file.parents(call):
        if isinstance(parent, ast.Assign):
            return dotted(parent.targets[0]).removeprefix("self.") or dotted(call.func)
        if isinstance(parent, ast.stmt):
            break
    return dotted(call.func)
