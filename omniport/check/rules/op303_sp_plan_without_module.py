"""OP303: a sequence-parallel plan names a module that the transformer does not have."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import attributes
from omniport.check.plans import all_entries
from omniport.check.port import Port


class SpPlanWithoutModule(Rule):
    """``_sp_plan`` names a module that the transformer does not have.

    The first part of a key is no attribute of the class or of its bases in the port.

    Why: a hook that finds no module is a line in the log and "continuing without SP hooks": the sequence is not split,
    or is split and never gathered.  Names go stale when a block or an output layer is renamed; #3854 and #4301
    corrected boundaries of merged ports.

    Fix: name the attribute that holds the module.
    """

    code = "OP303"
    name = "sp-plan-without-module"
    VALID = (
        """
        class Model(nn.Module):
            _sp_plan = {
                "": {"hidden_states": SequenceParallelInput(split_dim=1)},
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
            def __init__(self):
                self.rope = Rope()
                self.proj_out = nn.Linear(64, 64)
        """,
        """
        class Model(SomethingImported):
            _sp_plan = {"proj_out": SequenceParallelOutput(gather_dim=1)}
        """,
    )
    INVALID = (
        """
        class Model(nn.Module):
            _sp_plan = {
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
            def __init__(self):
                self.rope = Rope()
                self.final_layer = nn.Linear(64, 64)
        """,
        """
        class Model(nn.Module):
            _sp_plan = {
                "pos_embed.rope": {0: SequenceParallelInput(split_dim=0, split_output=True)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
            def __init__(self):
                self.rope = Rope()
                self.proj_out = nn.Linear(64, 64)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for entry in all_entries(port):
            known = attributes(port, entry.file, entry.cls)
            if known is not None and entry.first and entry.first not in known:
                yield self.at(entry.file, entry.key, f"{entry.cls.name} has no attribute {entry.first!r} to hook")
