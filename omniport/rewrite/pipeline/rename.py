"""Names replaced by expressions, and local names of a config object replaced by the object."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, statements
from omniport.source.syntax import dotted
from omniport.source.transform import transform

NodeT = TypeVar("NodeT", bound=cst.CSTNode)


class _Names(cst.CSTTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        return dotted(node) is None

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = dotted(original_node)
        if name is None:  # of a call or an element: what it has is no name of the function
            kept = updated_node.attr is original_node.attr
            return updated_node if kept else updated_node.with_changes(attr=original_node.attr)
        first, _, rest = name.partition(".")
        return cst.parse_expression(f"{self.names[first]}.{rest}") if first in self.names else updated_node

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        if updated_node.keyword is original_node.keyword:
            return updated_node
        return updated_node.with_changes(keyword=original_node.keyword)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        new = self.names.get(original_node.value)
        return updated_node if new is None else cst.parse_expression(new)


def replace_names(node: NodeT, names: Mapping[str, str]) -> NodeT:
    """``node`` with every name of ``names``, stores included, as its expression; keywords of arguments stay."""
    return transform(node, _Names(names)) if names else node


def config_locals(block: Block, parameters: Collection[str], configs: Collection[str]) -> Block:
    """The block without locals that hold nothing but a config object (``config = self.transformer.config``)."""
    bindings: dict[str, list[str | None]] = {}
    for node in statements(block):
        for small in node.body if isinstance(node, cst.SimpleStatementLine) else ():
            for target in small.targets if isinstance(small, cst.Assign) else ():
                for inner in _bound(target.target):
                    value = small.value if isinstance(small, cst.Assign) else None
                    plain = isinstance(target.target, cst.Name) and value is not None
                    bindings.setdefault(inner, []).append(dotted(value) if plain and value else None)
    names = {n: v[0] for n, v in bindings.items() if len(v) == 1 and v[0] in configs and n not in parameters}
    if not names:
        return block
    from omniport.rewrite.pipeline.blocks import without_lines

    def binds(line: cst.SimpleStatementLine) -> bool:
        small = line.body[0]
        return isinstance(small, cst.Assign) and dotted(small.targets[0].target) in names

    return [replace_names(s, {n: str(v) for n, v in names.items()}) for s in without_lines(block, binds)]


def _bound(node: cst.CSTNode) -> list[str]:
    if isinstance(node, cst.Name):
        return [node.value]
    if isinstance(node, cst.Tuple | cst.List):
        return [n for e in node.elements for n in _bound(e.value)]
    return []
