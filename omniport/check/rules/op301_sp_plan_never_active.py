"""OP301: no entry of _sp_plan switches sequence-parallel attention on."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import class_attributes, constant, keyword, last_name

_SPLITS = ("SequenceParallelInput", "SequenceParallelPartialInput")
_ENTRIES = frozenset({*_SPLITS, "SequenceParallelOutput"})


class SpPlanNeverActive(Rule):
    """No entry of ``_sp_plan`` switches sequence-parallel attention on.

    The plan is written out, holds entries, and none of them has ``split_output=True``; nor does the file count
    ``_sp_shard_depth`` by hand.

    Why: from vllm-omni 0.16 the attention layer talks to the other ranks only while ``sp_active``, and that depth is
    raised by the hook that shards a module's *output* and by no other (hooks/sequence_parallel.py).  A plan that only
    splits inputs has every rank attend to its own tokens: no error, a wrong image.  Every plan of vllm-omni 0.30.0
    has such an entry.  Sequence parallelism of merged ports was corrected in #1217, #377, #672 and #3854.

    Fix: let a module return what is to be sharded (a rope or prepare module, or an ``nn.Identity``) and shard its
    output: ``"rope": {0: SequenceParallelInput(split_dim=1, split_output=True)}``.
    """

    code = "OP301"
    name = "sp-plan-never-active"
    VALID = (
        """
        class Model:
            _sp_plan = {
                "": {"hidden_states": SequenceParallelInput(split_dim=1)},
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
        """,
        """
        class Model:
            _sp_plan = {}
        """,
        """
        class Model(Base):
            _sp_plan = {**Base._sp_plan, "proj_out": SequenceParallelOutput(gather_dim=1)}
        """,
        """
        class Model:
            _sp_plan = {"proj_out": SequenceParallelOutput(gather_dim=1)}
            def forward(self, x):
                get_forward_context()._sp_shard_depth += 1
        """,
    )
    INVALID = (
        """
        class Model:
            _sp_plan = {
                "": {"hidden_states": SequenceParallelInput(split_dim=1, expected_dims=3)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
        """,
        """
        class Model:
            _sp_plan = {
                "blocks.0": {"hidden_states": SequenceParallelInput(split_dim=1, auto_pad=True)},
                "rope": {"ids": SequenceParallelInput(split_dim=0, split_output=False)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("_sp_plan") or file.mentions("_sp_shard_depth"):
                continue
            for cls in file.nodes(ast.ClassDef):
                plan = class_attributes(cls).get("_sp_plan")
                if not isinstance(plan, ast.Dict) or not plan.values or not _written_out(plan):
                    continue
                splits = list(file.calls(*_SPLITS, within=plan))
                if all(constant(keyword(c, "split_output")) in (None, False) for c in splits):
                    yield self.at(
                        file, plan, f"no entry of {cls.name}._sp_plan has split_output=True: attention stays local"
                    )


def _written_out(node: ast.expr | None) -> bool:
    """Whether every entry can be seen: dicts, lists and calls of the plan's own types, with literal switches."""
    if isinstance(node, ast.Dict):
        return None not in node.keys and all(_written_out(v) for v in node.values)
    if isinstance(node, ast.List | ast.Tuple):
        return all(_written_out(e) for e in node.elts)
    if isinstance(node, ast.Call) and last_name(node.func) in _ENTRIES:
        switch = keyword(node, "split_output")
        return len(node.args) <= 2 and (switch is None or isinstance(switch, ast.Constant))
    return False
