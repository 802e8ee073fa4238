"""Tokens that an attention picks at run time: no axis of them is known in advance, so ranks cannot share them.

Where the walk stops is often in front of that, at a value that is laid out for all tokens; what forbids the split is
the choice.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from omniport.analyse.facts import Facts
from omniport.analyse.sequence.model import Refused
from omniport.analyse.syntax import text
from omniport.source.nodes import each_node

#: Operations whose result has as many rows as values of their input say.
_CHOICES = frozenset({"nonzero", "argwhere", "masked_select", "unique"})


def picked(module: ast.Module, facts: Facts) -> Refused | None:
    """The refusal that names such a choice in a class that calls attention; None if there is none."""
    attending = {call.instance.cls for call in facts.attentions}
    for cls in module.body:
        if not isinstance(cls, ast.ClassDef) or cls.name not in attending:
            continue
        for function in (member for member in cls.body if isinstance(member, ast.FunctionDef)):
            for name, line in _chosen(each_node(function)).items():
                for node in each_node(function):
                    if isinstance(node, ast.Subscript) and name in _indices(node.slice):
                        return Refused(f"{text(node)} picks tokens at run time: how many is not known before", line)
    return None


def _chosen(nodes: Iterable[ast.AST]) -> dict[str, int]:
    """Names that are bound to a choice, and the lines of it."""
    found: dict[str, int] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            calls = [part.func for part in each_node(node.value) if isinstance(part, ast.Call)]
            if any(isinstance(func, ast.Attribute) and func.attr in _CHOICES for func in calls):
                found[node.targets[0].id] = node.lineno
    return found


def _indices(index: ast.expr) -> set[str]:
    """Names that stand as an index of their own."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return {part.id for part in parts if isinstance(part, ast.Name)}
