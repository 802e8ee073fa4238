"""OP154: a weight source is meant for an attribute that the pipeline does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import held_names
from omniport.check.port import Port
from omniport.check.source import constant, keyword
from omniport.check.weights import sources


class SourceFillsNothing(Rule):
    """A weight source is meant for an attribute that the pipeline does not have.

    The first part of ``prefix="transformer."`` is set nowhere in the class, its bases in the port, or the functions of
    its file.

    Why: the prefix is put before every tensor of the source.  If no such module exists the tensors are taken for
    unknown, and the loader finds no parameter below the prefix to miss, so its check passes: the real module keeps its
    random weights.  #1598 corrected a prefix of a merged port.

    Fix: make the prefix the attribute that holds the module, with the dot.
    """

    code = "OP154"
    name = "source-fills-nothing"
    VALID = (
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, "transformer", None, prefix="transformer.")]
                self.transformer = Transformer()
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, "transformer", None, prefix="dit.model.")]
                self.dit = Holder(model=Transformer())
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, "transformer", None, prefix="transformer.")]
                self.unet = UNet()
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, "transformer_2", None, "transformer_2.")]
                self.transformer = Transformer()
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("ComponentSource"):
                continue
            for cls in file.nodes(ast.ClassDef):
                calls = list(sources(cls))
                held = held_names(port, file, cls) if calls else None
                for call in calls:
                    prefix = constant(keyword(call, "prefix") or (call.args[3] if len(call.args) > 3 else None))
                    if held is None or not isinstance(prefix, str) or not prefix:
                        continue
                    first = prefix.split(".")[0]
                    if first not in held:
                        yield self.at(file, call, f"{cls.name} has no attribute {first!r} that this source could fill")
