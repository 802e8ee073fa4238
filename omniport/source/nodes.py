"""Walks over trees of :mod:`ast` that are kept with the node: many questions walk the same functions."""

from __future__ import annotations

import ast

_CONTEXTS = frozenset({ast.Load, ast.Store, ast.Del})  # objects that all nodes share, and that nothing asks for


def each_node(node: ast.AST) -> tuple[ast.AST, ...]:
    """What :func:`ast.walk` gives, in its order and without contexts; nobody changes a tree that was read."""
    kept: tuple[ast.AST, ...] | None = node.__dict__.get("_nodes")
    if kept is None:
        found = [node]
        for current in found:  # it grows on the way
            for value in current.__dict__.values():
                if type(value) is list:
                    found += [item for item in value if isinstance(item, ast.AST)]
                elif isinstance(value, ast.AST) and type(value) not in _CONTEXTS:
                    found.append(value)
        kept = node.__dict__["_nodes"] = tuple(found)
    return kept
