"""``linear_cls = nn.Linear`` and ``linear_cls(...)``: the class stands in the call."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.substitute import Substitute, assigned_in, names_in
from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import walk


def class_aliases(module: cst.Module) -> cst.Module:
    """Local names that are bound once, by the first level of a function, to a class."""
    changed = module.visit(_Aliases())
    assert isinstance(changed, cst.Module)
    return changed


class _Aliases(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        node = updated_node
        for statement in node.body.body:
            found = _alias(statement)
            if found is None:
                continue
            name, value = found
            rest = [s for s in node.body.body if s is not statement]
            first = node.body.body.index(statement)
            early = any(name in names_in(s) for s in node.body.body[:first])
            params = {p.name.value for p in walk(node.params) if isinstance(p, cst.Param)}
            if early or name in params or any(name in assigned_in(s) for s in rest):
                continue
            body = transform(node.body.with_changes(body=rest), Substitute({name: value}))
            node = node.with_changes(body=body)
        return node


def _alias(statement: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1 or not isinstance(part.targets[0].target, cst.Name):
        return None
    path = dotted(part.value)
    if not path or path.startswith("self.") or not path.rpartition(".")[2][:1].isupper():
        return None
    return part.targets[0].target.value, part.value
