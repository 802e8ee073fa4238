"""OP603: a module takes quant_config, and whoever builds it does not pass it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, has_star, keyword, method, parameters

_THREADED = ("quant_config", "prefix")


class QuantConfigNotPassed(Rule):
    """A module takes ``quant_config`` or ``prefix``, and whoever builds it does not pass it on.

    The constructor of a class of the port has the parameter, and a constructor that has it too builds the class
    without it.

    Why: the thread breaks at one link, and every layer below it is built in full precision, or with a name that no
    ignore list matches; nothing fails.  Found after the merge block by block and pipeline variant by pipeline variant:
    #2795, #2180, #3587, #4245, #2913.

    Fix: pass ``quant_config=quant_config, prefix=f"{prefix}.<attribute>"`` at the named call.
    """

    code = "OP603"
    name = "quant-config-not-passed"
    VALID = (
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.up = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.up")
        class Block:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.ff = FeedForward(dim, quant_config=quant_config, prefix=f"{prefix}.ff")
        """,
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.up = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.up")
        class Block:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.ff = FeedForward(dim, quant_config, f"{prefix}.ff")
        """,
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None):
                self.up = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix="up")
        class Refiner:
            def __init__(self, dim):
                self.ff = FeedForward(dim)
        """,
        """
        class Transformer:
            def __init__(self, od_config=None, quant_config=None):
                self.blocks = None
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer(od_config=od_config, quant_config=od_config.quantization_config)
        """,
    )
    INVALID = (
        """
        class FeedForward:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.up = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.up")
        class Block:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.ff = FeedForward(dim)
        """,
        """
        class Attention:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.to_q = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.to_q")
        class Block:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.attn = Attention(dim, quant_config=quant_config)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("quant_config"):
                continue
            for cls in file.nodes(ast.ClassDef):
                init = method(cls, "__init__")
                given = set(parameters(init))
                if init is None or not given.intersection(_THREADED):
                    continue
                for call in file.nodes(ast.Call, within=init):
                    missing = [n for n in _THREADED if n in given and self._lacks(port, file, call, n)]
                    if missing:
                        called, lacks = ast.unparse(call.func), " and ".join(missing)
                        yield self.at(file, call, f"{cls.name} builds {called} without the {lacks} that it takes")

    def _lacks(self, port: Port, file: SourceFile, call: ast.Call, name: str) -> bool:
        """Whether a call builds a class of the port that takes ``name``, and does not pass it."""
        if not isinstance(call.func, ast.Name) or has_star(call) or keyword(call, name) is not None:
            return False
        found = port.find_class(call.func.id, file)
        if found is None:
            return False
        init = next((m for _, c in port.bases(*found) if (m := method(c, "__init__")) is not None), None)
        if init is None or name not in parameters(init) or name in [a.arg for a in _required(init)]:
            return False
        positional = [a.arg for a in (*init.args.posonlyargs, *init.args.args)][1:]
        return name not in positional[: len(call.args)]


def _required(init: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Parameters without a default: leaving one out fails at once and needs no rule."""
    args = [*init.args.posonlyargs, *init.args.args]
    plain = args[: len(args) - len(init.args.defaults)]
    return plain + [a for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if d is None]
