"""``width = width or 2 * dim`` where every call gives a width: the parameter says it.

A size that is given as a sum or product of sizes is neither None nor zero: no layer has a width of zero.
"""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.rewrite.normal.parameters import arguments_of, parameter_names
from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import code, constant

Given = Collection[tuple[str, str, str]]


def drop_given_sizes(
    classes: dict[str, cst.ClassDef], facts: Usage, root: str, given: Given
) -> dict[str, cst.ClassDef]:
    """The classes of which a constructor's fallback for a size goes, without it.

    Args:
        given: (class, function, parameter) that are certainly not None.
    """
    changed: dict[str, cst.ClassDef] = {}
    for cls, own in facts.classes.items():
        init = own.function("__init__")
        sites = facts.sites.get((cls, "__init__"), [])
        if cls == root or init is None or not sites:
            continue
        names = parameter_names(init)
        calls = [arguments_of(call, names) for _, call, _ in sites]
        sizes = {
            name
            for name in names
            if (cls, "__init__", name) in given
            and all(call is not None and name in call and _is_size(call[name].value) for call in calls)
            and own.stores.get("__init__", {}).get(name) == 1
        }
        body = [line for line in init.body.body if not (sizes and _is_fallback(line, sizes))]
        if len(body) < len(init.body.body):
            new = init.with_changes(body=init.body.with_changes(body=body))
            members = [new if member is init else member for member in classes[cls].body.body]
            changed[cls] = classes[cls].with_changes(body=classes[cls].body.with_changes(body=members))
    return changed


def _is_size(node: cst.BaseExpression) -> bool:
    """A positive number, a name, or a product or sum of such."""
    if isinstance(node, cst.BinaryOperation):
        return isinstance(node.operator, cst.Multiply | cst.Add) and _is_size(node.left) and _is_size(node.right)
    literal = constant(node)
    if isinstance(literal, int | float):
        return literal > 0
    return isinstance(node, cst.Name)


def _is_fallback(line: cst.CSTNode, sizes: Collection[str]) -> bool:
    """``size = size or 2 * dim`` with nothing but sizes on the right."""
    part = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1 or not isinstance(part.value, cst.BooleanOperation):
        return False
    name = code(part.targets[0].target)
    value = part.value
    fallback = isinstance(value.operator, cst.Or) and code(value.left) == name and _is_size(value.right)
    return name in sizes and fallback
