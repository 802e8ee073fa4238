"""OP503: layerwise offload finds no blocks in a transformer."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import block_list, lacks
from omniport.check.port import Port

_NAMES = ("_layerwise_offload_blocks_attrs", "_layerwise_offload_blocks_attr")


class NoOffloadBlocks(Rule):
    """Layerwise offload finds no blocks in a transformer.

    A transformer of the port holds a list of blocks, and neither it nor a base of it in the port has
    ``_layerwise_offload_blocks_attrs``.

    Why: ``--enable-layerwise-offload`` reads the lists from this attribute of the class alone and gives up without it,
    so a model that would fit block by block does not start on a smaller card.  GLM-Image and HiDream of vllm-omni
    0.30.0 lack it; paths of merged ports were corrected in #1888 and #4452.

    Fix: ``_layerwise_offload_blocks_attrs = ["transformer_blocks"]``: attributes that hold the lists, in their order.
    """

    code = "OP503"
    name = "no-offload-blocks"
    VALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            _layerwise_offload_blocks_attrs = ["blocks"]
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class Transformer(SomethingImported):
            _repeated_blocks = ["Block"]
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class Base(nn.Module):
            _hsdp_shard_conditions = []
        class Transformer(Base):
            _repeated_blocks = ["Block"]
            def __init__(self, n):
                self.layers = nn.ModuleList([Block(i) for i in range(n)])
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, cls in port.transformers:
            blocks = block_list(cls)
            if blocks is not None and lacks(port, file, cls, _NAMES):
                yield self.at(file, cls, f"{cls.name} names no block lists; {blocks} holds its blocks")
