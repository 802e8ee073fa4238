"""Walks over trees of :mod:`ast` that are kept with the node: many questions walk the same functions."""

from __future__ import annotations

import ast

_CONTEXTS = frozenset({ast.Load, ast.Store, ast.Del})  # objects that all nodes share, and that nothing asks for


class _Kinds(dict[type, bool]):
    def __missing__(self, kind: type) -> bool:
        found = self[kind] = issubclass(kind, ast.AST)
        return found


#: Whether values of a type are nodes: most that a node holds are numbers of lines, for which isinstance is slow.
IS_NODE = _Kinds()
_FOLLOWED = _Kinds(dict.fromkeys(_CONTEXTS, False))


def below(node: ast.AST) -> list[ast.AST]:
    """What :func:`ast.iter_child_nodes` gives, without contexts."""
    found: list[ast.AST] = []
    for value in node.__dict__.values():
        if _FOLLOWED[type(value)]:
            found.append(value)
        elif type(value) is list:
            found += [item for item in value if IS_NODE[type(item)]]
    return found


def each_node(node: ast.AST) -> tuple[ast.AST, ...]:
    """What :func:`ast.walk` gives, in its order and without contexts; nobody changes a tree that was read."""
    kept: tuple[ast.AST, ...] | None = node.__dict__.get("_nodes")
    if kept is None:
        found = [node]
        for current in found:  # it grows on the way
            for value in current.__dict__.values():
                kind = type(value)
                if _FOLLOWED[kind]:
                    found.append(value)
                elif kind is list:
                    found += [item for item in value if IS_NODE[type(item)]]
        kept = node.__dict__["_nodes"] = tuple(found)
    return kept


def methods(cls: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The functions of a class by name, the first of each; kept with the class."""
    kept: dict[str, ast.FunctionDef] | None = cls.__dict__.get("_methods")
    if kept is None:
        own = [node for node in cls.body if isinstance(node, ast.FunctionDef)]
        kept = cls.__dict__["_methods"] = {node.name: node for node in reversed(own)}
    return kept
