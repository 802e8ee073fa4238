"""OP305: a sequence-parallel plan names an argument that the module does not take."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import built_class
from omniport.check.plans import PlanEntry, all_entries
from omniport.check.port import Port
from omniport.check.source import Function, method, parameters


class SpPlanWithoutParameter(Rule):
    """``_sp_plan`` names an argument that the module's ``forward`` does not take.

    A split is keyed by a name, the module is the transformer itself or a class of the port, and its ``forward`` has
    no parameter of that name.

    Why: the hook matches arguments by the names of ``forward``'s parameters and skips what it does not find, without a
    word (hooks/sequence_parallel.py of vllm-omni 0.30.0).  The tensor stays whole beside others that are split: a
    shape error, or RoPE of the wrong positions.  #4474 and #4678 corrected splits that did not reach a tensor.

    Fix: use the parameter's own name.
    """

    code = "OP305"
    name = "sp-plan-without-parameter"
    VALID = (
        """
        class Model:
            _sp_plan = {"": {"hidden_states": SequenceParallelInput(split_dim=1)}}
            def forward(self, hidden_states, timestep):
                return hidden_states
        """,
        """
        class Model:
            _sp_plan = {"": {"hidden_states": SequenceParallelInput(split_dim=1)}}
            def forward(self, *args, **kwargs):
                return self.model(*args, **kwargs)
        """,
    )
    INVALID = (
        """
        class Model:
            _sp_plan = {"": {"hidden_states": SequenceParallelInput(split_dim=1)}}
            def forward(self, x, timestep):
                return x
        """,
        """
        class Prepare:
            def forward(self, tokens, ids):
                return tokens
        class Model:
            _sp_plan = {"prepare": {"hidden_states": SequenceParallelInput(split_dim=1)}}
            def __init__(self):
                self.prepare = Prepare()
            def forward(self, tokens, ids):
                return self.prepare(tokens, ids)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for entry in all_entries(port):
            forward = _forward(port, entry)
            if forward is None or forward.args.kwarg is not None:
                continue
            for name, _ in entry.splits:
                if isinstance(name.value, str) and name.value not in parameters(forward):
                    yield self.at(entry.file, name, f"forward of {entry.module!r} has no parameter {name.value!r}")


def _forward(port: Port, entry: PlanEntry) -> Function | None:
    """``forward`` of the module that an entry is for, as far as the port shows it."""
    found = (entry.file, entry.cls) if not entry.module else None
    if entry.module and "." not in entry.module:
        found = built_class(port, entry.file, entry.cls, entry.module)
    if found is None:
        return None
    return next((f for _, cls in port.bases(*found) if (f := method(cls, "forward")) is not None), None)
