"""OP961: code that only training runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import dotted, last_name

_CALLS = ("_gradient_checkpointing_func", "checkpoint", "enable_gradient_checkpointing", "set_gradient_checkpointing")


class TrainingCode(Rule):
    """Code that only training runs.

    ``self.gradient_checkpointing`` or a checkpointing function is used in a transformer of the port or in a class that
    it repeats.

    Why: the branch is never taken, and hides what is: the two calls of a block drift apart, and the reader has to
    check both.  LTX-2 of vllm-omni 0.30.0 kept it from diffusers; ports that dropped it lost nothing (#3661).

    Fix: keep the call of the block that inference makes.
    """

    code = "OP961"
    name = "training-code"
    VALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def forward(self, x):
                for block in self.blocks:
                    x = block(x)
                return x
        """,
        """
        class TextEncoder(nn.Module):
            def forward(self, x):
                if self.gradient_checkpointing and self.training:
                    return checkpoint(self.layer, x)
                return self.layer(x)
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def forward(self, x):
                for block in self.blocks:
                    if torch.is_grad_enabled() and self.gradient_checkpointing:
                        x = self._gradient_checkpointing_func(block, x)
                    else:
                        x = block(x)
                return x
        """,
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def __init__(self):
                self.gradient_checkpointing = False
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, cls in (*port.transformers, *port.repeated_blocks):
            if not file.mentions("checkpoint"):
                continue
            nodes: list[ast.AST] = [
                node for node in file.nodes(ast.Attribute, within=cls) if dotted(node) == "self.gradient_checkpointing"
            ]
            nodes += [
                call
                for call in file.calls(*_CALLS, within=cls)
                if last_name(call.func) != "checkpoint" or "checkpoint" in file.imports
            ]
            if nodes:
                first = min(nodes, key=lambda node: getattr(node, "lineno", 0))
                yield self.at(file, first, f"{cls.name} keeps what only training uses, in {len(nodes)} place(s)")
