"""OP504: HSDP cannot shard a transformer that does not say what a block is."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import block_list, lacks
from omniport.check.port import Port


class NoHsdpConditions(Rule):
    """HSDP cannot shard a transformer that does not say what a block is.

    A transformer of the port holds a list of blocks, and neither it nor a base of it in the port has
    ``_hsdp_shard_conditions``.

    Why: with ``--use-hsdp`` the worker raises at start-up without the attribute (distributed/hsdp.py).  Ovis,
    LongCat-Image, SD3, SANA-Video and HiDream of vllm-omni 0.30.0 lack it; #6125 corrected a merged port.

    Fix: ``_hsdp_shard_conditions = [is_block]``, functions of a module's name and the module.
    """

    code = "OP504"
    name = "no-hsdp-conditions"
    VALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            _hsdp_shard_conditions = [is_transformer_block_module]
            def __init__(self):
                self.transformer_blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class TextEncoder(nn.Module):
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
        class Transformer(nn.Module):
            _sp_plan = {}
            def __init__(self, n):
                self.layers = nn.ModuleList([Block(i) for i in range(n)])
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, cls in port.transformers:
            if block_list(cls) is not None and lacks(port, file, cls, ("_hsdp_shard_conditions",)):
                yield self.at(file, cls, f"{cls.name} has no _hsdp_shard_conditions: the worker refuses HSDP")
