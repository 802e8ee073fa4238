"""OP507: a module is built in forward."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import dotted, method

_CONTAINERS = frozenset({"nn.Parameter", "torch.nn.Parameter"})


class ModuleBuiltInForward(Rule):
    """A module is built in ``forward``.

    ``nn.Something(...)`` is called in a ``forward`` method.

    Why: it is made anew in each step and block, its parameters if it has any are not in the checkpoint, and
    torch.compile breaks the graph at it.  #4053 took one out of a merged port; vllm-omni 0.30.0 has none left in its
    transformers.

    Fix: build it in ``__init__``, or call the function: ``F.silu(x)`` for ``nn.SiLU()(x)``.
    """

    code = "OP507"
    name = "module-built-in-forward"
    VALID = (
        """
        class Block(nn.Module):
            def __init__(self):
                self.act = nn.SiLU()
            def forward(self, x):
                return self.act(x)
        """,
        """
        class Block(nn.Module):
            def forward(self, x):
                return nn.functional.silu(x)
        """,
    )
    INVALID = (
        """
        class Block(nn.Module):
            def forward(self, x):
                return nn.SiLU()(x)
        """,
        """
        class Block(nn.Module):
            def forward(self, x):
                norm = torch.nn.LayerNorm(x.shape[-1], elementwise_affine=False)
                return norm(x)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("nn."):
                continue
            for cls in file.nodes(ast.ClassDef):
                forward = method(cls, "forward")
                for call in file.nodes(ast.Call, within=forward) if forward is not None else ():
                    owner, _, name = dotted(call.func).rpartition(".")
                    if owner in ("nn", "torch.nn") and name[:1].isupper() and dotted(call.func) not in _CONTAINERS:
                        yield self.at(file, call, f"{dotted(call.func)} is built in each forward of {cls.name}")
