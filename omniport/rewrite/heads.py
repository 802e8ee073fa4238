"""Head counts of classes without an attention layer: the constructor keeps that of the rank, too."""

from __future__ import annotations

import libcst as cst

from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import code, expression, method, self_attribute, statements
from omniport.source.transform import transform

_SUBJECT = "heads in "


def rewrite_heads(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """Let the methods of a class read the number of heads that a rank holds."""
    prefix = f"{_SUBJECT}{node.name.value}."
    names = [
        d.subject.removeprefix(prefix) for d in plan.decisions if d.subject.startswith(prefix) and d.value == "own"
    ]
    init = method(node, "__init__")
    if not names or init is None:
        return node
    lines = "".join(f"self.local_{n} = self.{n} // get_tensor_model_parallel_world_size()\n" for n in names)
    made = init.with_changes(body=init.body.with_changes(body=[*init.body.body, *statements(lines)]))
    reader = _Local(set(names), whole_heads(node, plan))
    members = [
        made if item is init else transform(item, reader) if isinstance(item, cst.FunctionDef) else item
        for item in node.body.body
    ]
    return node.with_changes(body=node.body.with_changes(body=members))


def whole_heads(node: cst.ClassDef, plan: TransformerPlan) -> set[str]:
    """Expressions of a class that count all heads."""
    return {str(d.value) for d in plan.decisions if d.subject == f"whole heads in {node.name.value}"}


class _Local(cst.CSTTransformer):
    def __init__(self, names: set[str], whole: set[str]) -> None:
        self.names, self.whole = names, whole

    def visit_BinaryOperation(self, node: cst.BinaryOperation) -> bool:
        return code(node) not in self.whole

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = self_attribute(original_node)
        return expression(f"self.local_{name}") if name in self.names else updated_node
