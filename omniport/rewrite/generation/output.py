"""What the post-process function is given and returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from omniport.rewrite.syntax import code, expression

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures


def needed(features: TargetFeatures) -> bool:
    return not (features.post_process_params and features.post_process_payload)


def older(module: cst.Module, features: TargetFeatures) -> tuple[cst.Module, list[str]]:
    step = _Function(features)
    module = module.visit(step)
    notes = []
    if step.engine:
        notes.append("this vLLM-Omni post-processes with the engine's output type; a request's own is not seen there")
    return module, notes


class _Function(cst.CSTTransformer):
    def __init__(self, features: TargetFeatures) -> None:
        self.features = features
        self.inside = False
        self.engine = False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.inside |= node.name.value == "post_process_func"

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if original_node.name.value != "post_process_func":
            return updated_node
        self.inside = False
        if self.features.post_process_params:
            return updated_node
        params = [p for p in updated_node.params.params if p.name.value != "sampling_params"]
        if len(params) < len(updated_node.params.params):
            self.engine = True
            params[-1] = params[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(params=updated_node.params.with_changes(params=params))

    def leave_BooleanOperation(
        self, original_node: cst.BooleanOperation, updated_node: cst.BooleanOperation
    ) -> cst.BaseExpression:
        asked = code(original_node.left) == 'getattr(sampling_params, "output_type", None)'
        return updated_node.right if self.inside and asked and not self.features.post_process_params else updated_node

    def leave_Return(self, original_node: cst.Return, updated_node: cst.Return) -> cst.Return:
        value = updated_node.value
        if not self.inside or self.features.post_process_payload or not isinstance(value, cst.Dict):
            return updated_node
        rows = {code(e.key): e.value for e in value.elements if isinstance(e, cst.DictElement)}
        payload = rows.get('"payload"')
        if set(rows) != {'"payload"', '"metadata"'} or not isinstance(payload, cst.Dict):
            return updated_node
        inner = {code(e.key): e.value for e in payload.elements if isinstance(e, cst.DictElement)}
        whole = inner.get('"video"') if len(inner) == 1 else None
        return updated_node.with_changes(value=whole if whole is not None else expression(code(payload)))
