"""OP501: a transformer is not compiled because it names no repeated blocks."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, class_attributes, last_name

_PLAIN_BASES = frozenset({"Module", "CachedTransformer", "ABC", "Protocol", "Generic"})


class NoRepeatedBlocks(Rule):
    """A transformer is not compiled because it names no repeated blocks.

    A class that a pipeline uses as its transformer, or that declares other transformer attributes, has no
    ``_repeated_blocks``, and none of its bases in the port has.  Ports that define ``setup_compile`` do without.

    Why: vLLM-Omni compiles block by block and reads the block classes from this attribute alone; without it the whole
    model runs eagerly and one warning says so (diffusion/compile.py).  So in HiDream, SANA-Video and OmniGen2 of
    vllm-omni 0.30.0.

    Fix: ``_repeated_blocks = ["FluxTransformerBlock", "FluxSingleTransformerBlock"]``: class names of the blocks.
    """

    code = "OP501"
    name = "no-repeated-blocks"
    VALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            _layerwise_offload_blocks_attrs = ["blocks"]
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class Base(nn.Module):
            _repeated_blocks = ["Block"]
        class Transformer(Base):
            _hsdp_shard_conditions = []
            def __init__(self):
                self.more = nn.ModuleList([Block()])
        """,
        """
        class TextEncoder(nn.Module):
            def __init__(self):
                self.layers = nn.ModuleList([Layer() for _ in range(4)])
        """,
        """
        class Transformer(SomethingImported):
            _hsdp_shard_conditions = [is_block]
            def __init__(self):
                self.blocks = nn.ModuleList([Block()])
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _hsdp_shard_conditions = [is_block]
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class Transformer(nn.Module):
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        class Pipeline(nn.Module):
            def __init__(self):
                self.transformer = Transformer()
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if any(f.name == "setup_compile" for file in port.files for f in file.nodes(ast.FunctionDef)):
            return
        for file, cls in port.transformers:
            family = list(port.bases(file, cls))
            if any("_repeated_blocks" in class_attributes(c) for _, c in family) or _foreign_base(family):
                continue
            if any(True for where, c in family for _ in where.calls("ModuleList", within=c)):
                yield self.at(file, cls, f"{cls.name} declares no _repeated_blocks: torch.compile is skipped for it")


def _foreign_base(family: list[tuple[SourceFile, ast.ClassDef]]) -> bool:
    """Whether a base lies outside the port, where the attribute may be."""
    own = {cls.name for _, cls in family}
    names = {last_name(b.value if isinstance(b, ast.Subscript) else b) for _, cls in family for b in cls.bases}
    return any(n not in own and n not in _PLAIN_BASES and not n.endswith(("Mixin", "Interface")) for n in names)
