"""Imported classes that hold a module of the port: under which name, so that the module can be told its own path."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node
from omniport.source.tree import SourceTree

KEPT = "wrapper "


def wrappers(tree: SourceTree, module: ast.Module, imported: Mapping[str, str]) -> list[Decision]:
    """What imported classes call the modules of the port that they are given, ``wrapper Class.0.parameter``: attribute.

    Args:
        tree: the reference.
        module: classes of the normal form.
        imported: names that it imports from the reference, with the modules they are defined in.
    """
    own = {node.name for node in module.body if isinstance(node, ast.ClassDef)}
    found: dict[str, Decision] = {}
    for node in each_node(module):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported):
            continue
        given = [*enumerate(node.args), *((keyword.arg, keyword.value) for keyword in node.keywords)]
        for place, value in given:
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in own:
                for decision in _kept(tree, imported[node.func.id], node.func.id, place):
                    found[decision.subject] = decision
    return list(found.values())


def _kept(tree: SourceTree, module: str, name: str, place: int | str | None) -> list[Decision]:
    """The attributes that the constructor of a class puts the argument at ``place`` in, as it is."""
    resolved = tree.resolve(module, name)
    if resolved is None:
        return []
    source, cls = resolved
    node = source.definitions[cls]
    if not isinstance(node, ast.ClassDef):
        return []
    body = source.class_def(cls).body
    init = next((n for n in body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    parameters = [arg.arg for arg in init.args.args[1:]] if init else []
    index = place if isinstance(place, int) else parameters.index(place) if place in parameters else len(parameters)
    if init is None or index >= len(parameters):
        return []
    return [
        Decision(
            f"{KEPT}{name}.{index}.{parameters[index]}",
            statement.targets[0].attr,
            Why(f"the constructor of {name} keeps the module as it is", source.file, statement.lineno),
        )
        for statement in init.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Attribute)
        and ast.unparse(statement.targets[0].value) == "self"
        and ast.unparse(statement.value) == parameters[index]
    ]
