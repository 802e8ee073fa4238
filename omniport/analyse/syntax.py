"""Source text of the nodes that a walk meets."""

from __future__ import annotations

import ast


def text(node: ast.AST) -> str:
    """Source text; it is kept with the node, since each walk asks for it again."""
    kind = type(node)
    if kind is ast.Name:
        return node.id  # type: ignore[attr-defined,no-any-return]
    kept: str | None = node.__dict__.get("_text")
    if kept is None:
        chain = kind is ast.Attribute and type(node.value) in (ast.Name, ast.Attribute)  # type: ignore[attr-defined]
        made = f"{text(node.value)}.{node.attr}" if chain else ast.unparse(node)  # type: ignore[attr-defined]
        kept = node.__dict__["_text"] = made
    return kept
