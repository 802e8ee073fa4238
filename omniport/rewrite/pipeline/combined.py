"""What a loop makes of its two predictions: the names that it gives them, and the formula."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, reads
from omniport.rewrite.pipeline.walk import target_names
from omniport.source.syntax import code, dotted


def alias_of(node: Statement) -> dict[str, str] | None:
    """``a, b = x, y`` as {a: x, b: y}."""
    if not isinstance(node, cst.SimpleStatementLine) or not isinstance(node.body[0], cst.Assign) or len(node.body) > 1:
        return None
    target, value = node.body[0].targets[0].target, node.body[0].value
    if not isinstance(target, cst.Tuple) or not isinstance(value, cst.Tuple):
        return None
    pairs = [(dotted(a.value), dotted(b.value)) for a, b in zip(target.elements, value.elements, strict=False)]
    return {a: b for a, b in pairs if a and b} if len(target.elements) == len(value.elements) else None


def renamed(positive: str, negative: str, after: Block) -> tuple[str, Block]:
    """Names that the pair is unpacked to: those that ``after`` would copy it to first, if it does."""
    alias = alias_of(after[0]) if after else None
    if alias is not None and sorted(alias.values()) == sorted((positive, negative)):
        reverse = {value: name for name, value in alias.items()}
        first = after[0]
        return f"{reverse[positive]}, {reverse[negative]}", [
            *([after[1].with_changes(leading_lines=first.leading_lines)] if len(after) > 1 else []),
            *after[2:],
        ]
    return f"{positive}, {negative}", after


def applied(wrap: str, name: str) -> str:
    class Name(cst.CSTTransformer):
        def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
            return cst.parse_expression(name) if original_node.value == "_" else updated_node

    return code(cst.parse_expression(wrap).visit(Name()))  # type: ignore[arg-type]


def scale_of(block: Block, positive: str, names: dict[str, str]) -> cst.BaseExpression | None:
    """``s`` of ``positive = negative + s * (positive - negative)``; None for every other statement.

    ``names`` are the names of the two predictions -> which one they are.
    """
    node = block[0]
    if not isinstance(node, cst.SimpleStatementLine) or not isinstance(node.body[0], cst.Assign):
        return None
    assign = node.body[0]
    total = assign.value
    if target_names(assign.targets[0].target) != {positive} or len(assign.targets) != 1 or len(node.body) != 1:
        return None
    if not isinstance(total, cst.BinaryOperation) or not isinstance(total.operator, cst.Add):
        return None
    negative = names.get(dotted(total.left) or "")
    if negative in (None, positive) or not isinstance(total.right, cst.BinaryOperation):
        return None
    product = total.right
    if not isinstance(product.operator, cst.Multiply):
        return None
    for scale, difference in ((product.left, product.right), (product.right, product.left)):
        if isinstance(difference, cst.BinaryOperation) and isinstance(difference.operator, cst.Subtract):
            ends = [names.get(dotted(e) or "") for e in (difference.left, difference.right)]
            if ends == [positive, negative] and not set(names) & set(reads(scale)):
                return scale
    return None
