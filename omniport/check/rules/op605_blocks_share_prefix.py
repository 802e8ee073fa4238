"""OP605: all blocks of a list are given the same prefix."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import element_of
from omniport.check.port import Port
from omniport.check.source import SourceFile, bound_names, keyword, last_name, walk


class BlocksSharePrefix(Rule):
    """All blocks of a list are given the same prefix.

    In ``nn.ModuleList([Block(..., prefix=...) for i in ...])`` the prefix does not hold the loop's variable.

    Why: layers of all blocks then have one name: a checkpoint's list of ignored layers exempts all or none, KV
    quantisation cannot skip the first and last block, and per-layer scales overwrite each other.  #2795 and #2913
    threaded prefixes block by block after the merge.

    Fix: ``prefix=f"{prefix}.transformer_blocks.{i}"``.
    """

    code = "OP605"
    name = "blocks-share-prefix"
    VALID = (
        """
        class Model:
            def __init__(self, n, prefix=""):
                self.blocks = nn.ModuleList([Block(prefix=f"{prefix}.blocks.{i}") for i in range(n)])
        """,
        """
        class Model:
            def __init__(self, n):
                self.blocks = nn.ModuleList([Block() for _ in range(n)])
        """,
    )
    INVALID = (
        """
        class Model:
            def __init__(self, n, prefix=""):
                self.blocks = nn.ModuleList([Block(prefix=f"{prefix}.blocks") for _ in range(n)])
        """,
        """
        class Model:
            def __init__(self, n, prefix=""):
                self.blocks = nn.ModuleList(
                    [Block(prefix=f"{prefix}.blocks") if self.start <= i else PPMissingLayer() for i in range(n)]
                )
        """,
        """
        class Model:
            def __init__(self, n, quant_config=None, prefix=""):
                self.layers = nn.ModuleList(
                    Block(i, quant_config=quant_config, prefix=maybe_prefix(prefix, "layers")) for i in range(n)
                )
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("prefix="):
                continue
            for call in file.calls("ModuleList"):
                for comprehension in call.args[:1]:
                    if isinstance(comprehension, ast.ListComp | ast.GeneratorExp):
                        yield from self._elements(file, comprehension)

    def _elements(self, file: SourceFile, comprehension: ast.ListComp | ast.GeneratorExp) -> Iterator[Finding]:
        variables = {name for generator in comprehension.generators for name in bound_names(generator.target)}
        element = element_of(comprehension)
        prefix = keyword(element, "prefix") if isinstance(element, ast.Call) else None
        if prefix is None or isinstance(prefix, ast.Constant) and prefix.value in ("", None):
            return
        if not variables & {n.id for n in walk(prefix) if isinstance(n, ast.Name)}:
            block = last_name(element.func) if isinstance(element, ast.Call) else "block"
            yield self.at(file, prefix, f"every {block} of the list has this prefix: it does not hold the index")
