"""A truth over a whole tensor is decided once by the root, not in every block: there it would stop compilation."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.syntax import code, dotted, expression
from omniport.source.transform import transform

_TRUTHS = ("torch.all", "torch.any")


def decided_once(root: cst.ClassDef) -> cst.ClassDef:
    """``root`` with ``flag = torch.all(mask)`` as a bool, so that a block which is given ``flag`` branches on one."""
    changed = transform(root, _Decide())
    assert isinstance(changed, cst.ClassDef)
    return changed


class _Decide(cst.CSTTransformer):
    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        value = updated_node.value
        if isinstance(value, cst.IfExp) and _truth(value.body):
            return updated_node.with_changes(value=value.with_changes(body=_bool(value.body)))
        return updated_node.with_changes(value=_bool(value)) if _truth(value) else updated_node


def _truth(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and dotted(node.func) in _TRUTHS and len(node.args) == 1


def _bool(node: cst.BaseExpression) -> cst.BaseExpression:
    return expression(f"bool({code(node)})")
