"""Declarations of the transformer and helpers of its layers that the tree spells otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.generation.edit import Replace, removed
from omniport.rewrite.syntax import assignment

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

_LIST, _STRING = "_layerwise_offload_blocks_attrs", "_layerwise_offload_blocks_attr"
_PRECISION = "_hsdp_preserve_parameter_dtypes"


def needed(features: TargetFeatures) -> bool:
    return features.offload_attr != "list" or not (features.safe_quant and features.hsdp_preserve_dtypes)


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    notes: list[str] = []
    if features.offload_attr != "list":
        step = _Offload(features.offload_attr)
        module = module.visit(step)
        if step.left:
            notes.append(f"layerwise offload streams one list of blocks in this vLLM-Omni; {step.left} stay loaded")
    if not features.safe_quant:
        # such a tree quantises every linear that is given the config
        module = module.visit(Replace({}, {"safe_quant_config": lambda given: given["0"]}))
    if not features.hsdp_preserve_dtypes:
        module = removed(module, [_PRECISION])
    return module, notes


class _Offload(cst.CSTTransformer):
    def __init__(self, form: str) -> None:
        self.form = form
        self.left = ""

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        pair = assignment(original_node)
        if pair is None or not isinstance(pair[0], cst.Name) or pair[0].value != _LIST:
            return updated_node
        if not self.form or not isinstance(pair[1], cst.List):
            return cst.RemoveFromParent()
        first, *rest = [e.value for e in pair[1].elements]
        self.left = ", ".join(cst.Module([]).code_for_node(e).strip("\"'") for e in rest)
        line = cst.Assign([cst.AssignTarget(cst.Name(_STRING))], first)
        return updated_node.with_changes(body=[line])
