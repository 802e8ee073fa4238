"""OP502: _repeated_blocks names a class that the port does not build."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import literal_strings
from omniport.check.port import Port
from omniport.check.source import class_attributes


class UnknownRepeatedBlock(Rule):
    """``_repeated_blocks`` names a class that the port neither defines nor imports.

    Why: regional compilation compares these strings with the class names of the modules; one that matches nothing
    leaves the blocks uncompiled, with a warning at most (diffusion/compile.py of vllm-omni 0.30.0).  Names go stale
    when a class is renamed or split in the port.

    Fix: the name of the block's class as the port defines it.
    """

    code = "OP502"
    name = "unknown-repeated-block"
    VALID = (
        """
        class Block(nn.Module):
            pass
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
        """,
        """
        from .blocks import Block
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
        """,
    )
    INVALID = (
        """
        class TransformerBlock(nn.Module):
            pass
        class Transformer(nn.Module):
            _repeated_blocks = ["FluxTransformerBlock"]
        """,
        """
        class Block(nn.Module):
            pass
        class Transformer(nn.Module):
            _repeated_blocks: list[str] = ["Block", "SingleBlock"]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        known = {cls.name for file in port.files for cls in file.nodes(ast.ClassDef)}
        known |= {name for file in port.files for name in file.imports}
        for file in port.files:
            if not file.mentions("_repeated_blocks"):
                continue
            for cls in file.nodes(ast.ClassDef):
                for node, name in literal_strings(class_attributes(cls).get("_repeated_blocks")):
                    if name not in known:
                        yield self.at(file, node, f"no class of the port is called {name}: nothing is compiled for it")
