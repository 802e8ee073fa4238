"""A property with a setter: the setter becomes a method, and assignments inside the class call it."""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import dotted


def setters(module: cst.Module) -> cst.Module:
    """``self.x = v`` as ``self.set_x(v)`` where ``x`` is a property with a setter; reading it stays as it is."""
    changed = module.visit(_Setters())
    assert isinstance(changed, cst.Module)
    return changed


class _Setters(cst.CSTTransformer):
    def __init__(self) -> None:
        self._names: list[frozenset[str]] = []

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        members = [m for m in node.body.body if isinstance(m, cst.FunctionDef)]
        found = {m.name.value for m in members if _sets(m)}
        self._names.append(frozenset(n for n in found if f"set_{n}" not in {m.name.value for m in members}))

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self._names.pop()
        return updated_node

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if not self._names or original_node.name.value not in self._names[-1] or not _sets(original_node):
            return updated_node
        return updated_node.with_changes(name=cst.Name(f"set_{original_node.name.value}"), decorators=())

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine]:
        part = updated_node.body[0]
        if not self._names or len(updated_node.body) != 1 or not isinstance(part, cst.Assign) or len(part.targets) != 1:
            return updated_node
        target = part.targets[0].target
        pairs: list[tuple[cst.BaseExpression, cst.BaseExpression]] = [(target, part.value)]
        if isinstance(target, cst.Tuple) and isinstance(part.value, cst.Tuple):
            pairs = [(t.value, v.value) for t, v in zip(target.elements, part.value.elements, strict=False)]
            constants = all(dotted(v) in ("None", "True", "False") for _, v in pairs)
            if len(target.elements) != len(part.value.elements) or not constants:
                return updated_node  # taken apart, a later value could see an earlier target
        names = [self._property(t) for t, _ in pairs]
        if not any(names):
            return updated_node
        lines = []
        for name, (aim, value) in zip(names, pairs, strict=True):
            if name is None and isinstance(aim, cst.BaseAssignTargetExpression):
                lines.append(cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(aim)], value)]))
            else:
                call = cst.Call(cst.Attribute(cst.Name("self"), cst.Name(f"set_{name}")), [cst.Arg(value)])
                lines.append(cst.SimpleStatementLine([cst.Expr(call)]))
        return cst.FlattenSentinel(lines)

    def _property(self, target: cst.CSTNode) -> str | None:
        name = dotted(target) or ""
        owner, _, attribute = name.partition(".")
        return attribute if owner == "self" and attribute in self._names[-1] else None


def _sets(node: cst.FunctionDef) -> bool:
    return any((dotted(d.decorator) or "") == f"{node.name.value}.setter" for d in node.decorators)
