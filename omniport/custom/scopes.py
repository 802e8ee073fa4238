"""Bodies of a file that run on their own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.custom.code import CodeFile


def scopes(file: CodeFile) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Functions, methods and the module's own statements (scripts load at module level)."""
    loose: list[ast.stmt] = []
    for node in file.tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node.body
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member.body
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            loose.append(node)
    if loose:
        yield "<module>", loose
