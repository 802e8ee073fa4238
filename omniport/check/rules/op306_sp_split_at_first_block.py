"""OP306: the sequence is split at the first block, where a cache replaces the module."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.plans import all_entries
from omniport.check.port import Port


class SpSplitAtFirstBlock(Rule):
    """The sequence is split at the first block, where a cache replaces the module.

    A key of ``_sp_plan`` is ``<blocks>.0``.

    Why: cache-dit puts its own object in the place of the list of blocks and calls them itself; a hook on the first
    one is lost, the tokens stay whole while RoPE is split.  Wan2.2 moved its split from ``blocks.0`` to a module of
    its own in vllm-omni 0.24 for that reason (#3927 and #6181 are more of this kind).

    Fix: an ``nn.Identity`` before the loop, ``"sp_shard_point": {0: SequenceParallelInput(..., split_output=True)}``.
    """

    code = "OP306"
    name = "sp-split-at-first-block"
    VALID = (
        """
        class Model:
            _sp_plan = {"sp_shard_point": {0: SequenceParallelInput(split_dim=1, split_output=True)}}
        """,
        """
        class Model:
            _sp_plan = {"blocks.0.attn": {"ids": SequenceParallelInput(split_dim=1)}}
        """,
    )
    INVALID = (
        """
        class Model:
            _sp_plan = {"blocks.0": {"hidden_states": SequenceParallelInput(split_dim=1)}}
        """,
        """
        class Model:
            _sp_plan = {
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True)},
                "transformer_blocks.0": {"hidden_states": SequenceParallelInput(split_dim=1, auto_pad=True)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for entry in all_entries(port):
            blocks, _, rest = entry.module.partition(".")
            if blocks and rest == "0" and entry.splits:
                yield self.at(entry.file, entry.key, f"a cache replaces {blocks!r}, and the hook on its first block")
