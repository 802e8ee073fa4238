"""The ``Attention`` layer without the arguments that the tree's layer does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.syntax import dotted

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_LAYERS = ("Attention", "OmniAttention", "KeyMaskedAttention")


def _lacking(features: TargetFeatures) -> set[str]:
    table = {"role": features.attn_role, "skip_sequence_parallel": features.attn_skip_sp}
    return {name for name, there in table.items() if not there}


def needed(features: TargetFeatures) -> bool:
    return bool(_lacking(features))


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    return module.visit(_Arguments(_lacking(features))), []


class _Arguments(cst.CSTTransformer):
    def __init__(self, lacking: set[str]) -> None:
        self.lacking = lacking

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) not in _LAYERS:
            return updated_node
        kept = [a for a in updated_node.args if a.keyword is None or a.keyword.value not in self.lacking]
        return updated_node if len(kept) == len(updated_node.args) else updated_node.with_changes(args=kept)
