"""OP604: a layer is given the prefix of another one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Edit, Finding, Rule
from omniport.check.modules import layers
from omniport.check.port import Port
from omniport.check.source import SourceFile, keyword, last_name


class PrefixOfAnotherLayer(Rule):
    """A layer is given the prefix of another one.

    ``self.to_k = ColumnParallelLinear(..., prefix=f"{prefix}.to_q")``: the prefix ends in the name of another layer of
    the same class.

    Why: quantisation looks layers up by prefix; this one gets the scales, or the exemption, of the other.  It is what
    copying a line leaves behind, and nothing fails: prefixes of merged ports were corrected in #3587 and #4245.

    Fix: end the prefix in the attribute's own name (done by ``--fix``).
    """

    code = "OP604"
    name = "prefix-of-another-layer"
    VALID = (
        """
        class Attn:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.to_q = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.to_q")
                self.to_k = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.to_k")
        """,
        """
        class Attn:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.query = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.q_proj")
        """,
    )
    INVALID = (
        """
        class Attn:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.to_q = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.to_q")
                self.to_k = ColumnParallelLinear(dim, dim, quant_config=quant_config, prefix=f"{prefix}.to_q")
        """,
        """
        class Block:
            def __init__(self, dim, quant_config=None, prefix=""):
                self.ff = FeedForward(dim, quant_config=quant_config, prefix=f"{prefix}.ff")
                self.ff_context = FeedForward(dim, quant_config=quant_config, prefix=f"{prefix}.ff")
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("prefix="):
                continue
            for cls in file.nodes(ast.ClassDef):
                held = list(layers(cls))
                names = {name for name, _ in held}
                ends = [(name, call, _end(keyword(call, "prefix"))) for name, call in held]
                right = {name for name, _, end in ends if end == name}
                for name, call, end in ends:
                    if end is not None and end != name and end in names & right and name not in right:
                        prefix = keyword(call, "prefix") or call
                        fix = self._fix(file, prefix, end, name)
                        yield self.at(file, prefix, f"the prefix of {name} is that of {end}", edits=fix)

    def _fix(self, file: SourceFile, prefix: ast.expr, end: str, name: str) -> tuple[Edit, ...]:
        """Rewrite the end of the text, if it stands on one line as it reads."""
        text = file.segment(prefix)
        for quote in ('"', "'"):
            if text is not None and text.endswith(f".{end}{quote}"):
                return (file.edit(prefix, f"{text[: -len(end) - 1]}{name}{quote}"),)
        return ()


def _end(prefix: ast.expr | None) -> str | None:
    """What follows the last dot of ``f"{prefix}.name"``, in ``maybe_prefix(prefix, "name")`` too."""
    if isinstance(prefix, ast.Call) and last_name(prefix.func) == "maybe_prefix" and len(prefix.args) == 2:
        prefix = prefix.args[1]
    last = prefix.values[-1] if isinstance(prefix, ast.JoinedStr) and prefix.values else prefix
    if isinstance(last, ast.Constant) and isinstance(last.value, str):
        return last.value.rpartition(".")[2]
    return None
