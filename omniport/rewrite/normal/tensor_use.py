"""Parameters that a function uses in a way that None would not survive: they are never None."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.substitute import assigned_in, names_in
from omniport.source.syntax import dotted
from omniport.source.walk import children, of_kind

#: Layers that give back what they are given, be it None.
_PASSING = frozenset({"nn.Identity"})


def used_as_tensor(cls: cst.ClassDef, function: cst.FunctionDef, name: str) -> bool:
    """Whether every run of ``function`` reads a part of ``name``, computes with it or gives it to a layer.

    Only statements that always run count, up to the first that binds the name anew or looks at it in a condition.
    """
    layers: frozenset[str] | None = None
    for statement in function.body.body:
        if name not in names_in(statement):
            if isinstance(statement, cst.SimpleStatementLine) and isinstance(
                statement.body[-1], cst.Return | cst.Raise
            ):
                return False
            if not isinstance(statement, cst.SimpleStatementLine) and _leaves(statement):
                return False
            continue
        if not isinstance(statement, cst.SimpleStatementLine):
            return False
        layers = _layers(cls) if layers is None else layers
        if any(_uses(part, name, layers) for part in statement.body):
            return True
        if name in assigned_in(statement):
            return False
    return False


def _leaves(statement: cst.CSTNode) -> bool:
    """Whether a statement may end the function."""
    return any(True for kind in (cst.Return, cst.Raise) for _ in of_kind(statement, kind))


def _layers(cls: cst.ClassDef) -> frozenset[str]:
    """The attributes that the class sets to a layer of torch, as ``self.x``."""
    found: set[str] = set()
    other: set[str] = set()
    for part in of_kind(cls, cst.Assign):
        made = (dotted(part.value.func) or "") if isinstance(part.value, cst.Call) else ""
        table = found if made.startswith("nn.") and made not in _PASSING else other
        table |= {dotted(target.target) or "" for target in part.targets}
    return frozenset(found - other)


def _uses(node: cst.CSTNode, name: str, layers: frozenset[str]) -> bool:
    if isinstance(node, cst.Lambda | cst.ListComp | cst.GeneratorExp | cst.DictComp | cst.SetComp | cst.Comparison):
        return False
    if isinstance(node, cst.IfExp):
        return _uses(node.test, name, layers)
    if isinstance(node, cst.BooleanOperation):
        return _uses(node.left, name, layers)
    held: list[cst.CSTNode] = []
    if isinstance(node, cst.Attribute | cst.Subscript):
        held = [node.value]
    elif isinstance(node, cst.BinaryOperation):
        held = [node.left, node.right]
    elif isinstance(node, cst.Call) and dotted(node.func) in layers and node.args:
        held = [node.args[0].value]
    elif isinstance(node, cst.Call) and dotted(node.func) == "torch.cat" and node.args:
        joined = node.args[0].value
        held = [e.value for e in joined.elements] if isinstance(joined, cst.List | cst.Tuple) else []
    if any(isinstance(part, cst.Name) and part.value == name for part in held):
        return True
    return any(_uses(child, name, layers) for child in children(node))
