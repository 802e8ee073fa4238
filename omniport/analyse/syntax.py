"""Source text of the nodes that a walk meets."""

from __future__ import annotations

import ast


def text(node: ast.AST) -> str:
    """Source text; it is kept with the node, since each walk asks for it again."""
    kept: str | None = node.__dict__.get("_text")
    if kept is None:
        kept = node.__dict__["_text"] = ast.unparse(node)
    return kept
