"""OP302: an output of a module is listed for sharding without split_output."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.plans import all_entries
from omniport.check.port import Port
from omniport.check.source import constant, has_star, keyword


class SpOutputIndexNotSplit(Rule):
    """An output of a module is listed for sharding without ``split_output=True``.

    A key of an entry of ``_sp_plan`` is a number, and its ``SequenceParallelInput`` does not say ``split_output=True``.

    Why: numbers mean outputs, and ``validate_sp_plan`` refuses them without the switch.  The runner logs the refusal
    and goes on "without SP hooks" (hooks/sequence_parallel.py): with two ranks each computes the whole image.  All
    plans of vllm-omni 0.30.0 that number outputs set it; #377 and #672 corrected plans after the merge.

    Fix: ``{0: SequenceParallelInput(split_dim=1, split_output=True)}``, or name a parameter of ``forward``.
    """

    code = "OP302"
    name = "sp-output-index-not-split"
    VALID = (
        """
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True)}}
        """,
        """
        class Model:
            _sp_plan = {"": {"hidden_states": SequenceParallelInput(split_dim=1)}}
        """,
    )
    INVALID = (
        """
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0)}}
        """,
        """
        class Model:
            _sp_plan = {
                "rope": {
                    0: SequenceParallelInput(split_dim=0, split_output=True),
                    1: SequenceParallelInput(split_dim=0, expected_dims=2, auto_pad=True),
                }
            }
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for entry in all_entries(port):
            for name, call in entry.splits:
                switch = constant(keyword(call, "split_output"))
                shown = not has_star(call) and len(call.args) < 3
                if isinstance(name.value, int) and shown and switch in (None, False):
                    if keyword(call, "split_output") is not None and switch is None:
                        continue  # computed
                    yield self.at(entry.file, call, f"output {name.value} of {entry.module!r} needs split_output=True")
