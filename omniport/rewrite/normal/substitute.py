"""Replace names by expressions, and rename."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import libcst as cst

from omniport.source.walk import children, walk


class Substitute(cst.CSTTransformer):
    """Replace loads and stores of whole names; attribute names and keywords of calls stay."""

    def __init__(self, names: Mapping[str, cst.BaseExpression]) -> None:
        self.names = names

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> bool:
        return not self.names.keys().isdisjoint(names_in(node))

    def visit_Attribute_attr(self, node: cst.Attribute) -> None:
        self._skip = node.attr

    def visit_Arg_keyword(self, node: cst.Arg) -> None:
        self._skip_keyword = node.keyword

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        if original_node is getattr(self, "_skip", None) or original_node is getattr(self, "_skip_keyword", None):
            return updated_node
        found = self.names.get(original_node.value)
        return updated_node if found is None else found.deep_clone()


@functools.lru_cache(maxsize=20_000)
def names_in(node: cst.CSTNode) -> frozenset[str]:
    """Every name that occurs in ``node`` as an expression of its own, loads and stores alike."""
    found: set[str] = set()
    todo: list[cst.CSTNode] = [node]
    while todo:
        current = todo.pop()
        if type(current) is cst.Name:
            found.add(current.value)
        elif type(current) is cst.Attribute or type(current) is cst.Arg:
            todo.append(current.value)
        elif type(current) is cst.Param:
            todo.extend(part for part in (current.default, current.annotation) if part is not None)
        elif type(current) is cst.FunctionDef:
            todo.extend((current.params, current.body))
        elif type(current) is cst.SimpleStatementLine and current is not node:
            found |= names_in(current)
        else:
            todo.extend(children(current))
    return frozenset(found)


_BINDING = frozenset({cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.For, cst.NamedExpr})


@functools.lru_cache(maxsize=20_000)
def assigned_in(node: cst.CSTNode) -> frozenset[str]:
    """Every name that a statement in ``node`` assigns."""
    if type(node) is cst.IndentedBlock:
        return frozenset[str]().union(*map(assigned_in, node.body))
    found: set[str] = set()
    for part in walk(node):
        if type(part) in _BINDING:
            targets = [part.target]  # type: ignore[attr-defined]
            while targets:
                target = targets.pop()
                if type(target) is cst.Name:
                    found.add(target.value)
                elif type(target) is cst.Tuple or type(target) is cst.List:
                    targets.extend(element.value for element in target.elements)
    return frozenset(found)
