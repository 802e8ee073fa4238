"""Replace names by expressions, and rename."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst


class Substitute(cst.CSTTransformer):
    """Replace loads and stores of whole names; attribute names and keywords of calls stay."""

    def __init__(self, names: Mapping[str, cst.BaseExpression]) -> None:
        self.names = names

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        return True

    def visit_Attribute_attr(self, node: cst.Attribute) -> None:
        self._skip = node.attr

    def visit_Arg_keyword(self, node: cst.Arg) -> None:
        self._skip_keyword = node.keyword

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        if original_node is getattr(self, "_skip", None) or original_node is getattr(self, "_skip_keyword", None):
            return updated_node
        found = self.names.get(original_node.value)
        return updated_node if found is None else found.deep_clone()


def names_in(node: cst.CSTNode) -> set[str]:
    """Every name that occurs in ``node`` as an expression of its own, loads and stores alike."""
    found: set[str] = set()

    class Collect(cst.CSTVisitor):
        def visit_Attribute(self, node: cst.Attribute) -> bool:
            node.value.visit(self)
            return False

        def visit_Arg(self, node: cst.Arg) -> bool:
            node.value.visit(self)
            return False

        def visit_Param(self, node: cst.Param) -> bool:
            if node.default is not None:
                node.default.visit(self)
            if node.annotation is not None:
                node.annotation.visit(self)
            return False

        def visit_Name(self, node: cst.Name) -> None:
            found.add(node.value)

    node.visit(Collect())
    return found


def assigned_in(node: cst.CSTNode) -> set[str]:
    """Every name that a statement in ``node`` assigns."""
    found: set[str] = set()

    def add(target: cst.BaseExpression) -> None:
        if isinstance(target, cst.Name):
            found.add(target.value)
        elif isinstance(target, cst.Tuple | cst.List):
            for element in target.elements:
                add(element.value)

    class Collect(cst.CSTVisitor):
        def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
            add(node.target)

        def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
            add(node.target)

        def visit_AugAssign(self, node: cst.AugAssign) -> None:
            add(node.target)

        def visit_For(self, node: cst.For) -> None:
            add(node.target)

        def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
            add(node.target)

    node.visit(Collect())
    return found
