"""Questions about the source of a pipeline class, asked of its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from omniport.errors import UnsupportedError


def parameters(node: ast.FunctionDef, file: str) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Parameters of a method with their defaults, ``self`` aside; UnsupportedError for ``*`` and ``**`` ones."""
    arguments = node.args
    if arguments.vararg or arguments.kwarg:
        raise UnsupportedError(f"{node.name} takes * or ** arguments", file, node.lineno)
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    yield from list(zip(plain, defaults, strict=True))[1:]
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def registered(init: ast.FunctionDef) -> list[str]:
    """Components that the constructor registers."""
    names: list[str] = []
    for node in ast.walk(init):
        if isinstance(node, ast.Call) and dotted(node.func) == "self.register_modules":
            names += [k.arg for k in node.keywords if k.arg]
    return names


def optional_components(node: ast.ClassDef) -> set[str]:
    """What the class declares as ``_optional_components``."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and dotted(statement.targets[0]) == "_optional_components":
            return set(ast.literal_eval(statement.value))
    return set()


def stores(node: ast.ClassDef, name: str) -> Iterator[ast.Assign]:
    """Assignments to ``name`` (``self.x``) or to an element of it."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                base = target.value if isinstance(target, ast.Subscript) else target
                if dotted(base) == name:
                    yield inner


def stores_argument(node: ast.Assign) -> bool:
    """``self._x = x``, ``self._x = {}``, or an IP-adapter entry."""
    target = node.targets[0]
    if isinstance(target, ast.Subscript):
        return isinstance(target.slice, ast.Constant) and str(target.slice.value).startswith("ip_adapter")
    if isinstance(node.value, ast.Dict):
        return not node.value.keys
    return isinstance(node.value, ast.Name) and (dotted(target) or "").endswith(f"._{node.value.id}")


def dotted(node: ast.AST) -> str | None:
    """``a.b.c`` for a name or a chain of attributes, None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def walk_reversed(node: ast.AST) -> list[ast.AST]:
    """Every node, last line first: a dictionary filled from it keeps the first occurrence of each name."""
    return sorted(ast.walk(node), key=lambda n: -getattr(n, "lineno", 0))


def is_none(node: Any) -> bool:
    """The literal ``None``."""
    return isinstance(node, ast.Constant) and node.value is None
