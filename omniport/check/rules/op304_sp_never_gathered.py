"""OP304: a sequence-parallel plan splits the sequence and never gathers it."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.plans import GATHER, entries, plans
from omniport.check.port import Port


class SpNeverGathered(Rule):
    """``_sp_plan`` splits the sequence and never gathers it.

    The plan is written out, has splits and no ``SequenceParallelOutput``, and the file gathers nothing by hand.

    Why: each rank goes on with its part of the tokens; unpacking the latents fails, or gives an image of a fraction
    of its height.  Every plan of vllm-omni 0.30.0 that splits also gathers; #1217 corrected one after the merge.

    Fix: ``"proj_out": SequenceParallelOutput(gather_dim=1, expected_dims=3)`` at the last module of the tokens.
    """

    code = "OP304"
    name = "sp-never-gathered"
    VALID = (
        """
        class Model:
            _sp_plan = {
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
        """,
        """
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True)}}
            def forward(self, x):
                return get_sp_group().all_gather(x, dim=1)
        """,
        """
        class Model(Base):
            _sp_plan = {**Base._sp_plan, "rope": {0: SequenceParallelInput(split_dim=0, split_output=True)}}
        """,
    )
    INVALID = (
        """
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True)}}
        """,
        """
        class Model:
            _sp_plan = {
                "": {"hidden_states": SequenceParallelInput(split_dim=1)},
                "prepare": {0: SequenceParallelInput(split_dim=1, split_output=True, auto_pad=True)},
            }
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, cls, plan in plans(port):
            if None in plan.keys or file.mentions("all_gather") or file.mentions("sp_gather"):
                continue
            found = list(entries(file, cls, plan))
            if len(found) < len(plan.keys) or not any(entry.splits for entry in found):
                continue
            if next(file.calls(GATHER, within=plan), None) is None:
                yield self.at(file, plan, f"{cls.name}._sp_plan splits the sequence and has no {GATHER}")
