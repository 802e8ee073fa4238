"""The names of a module's text: its classes and their order of inheritance, functions, constants, other packages'."""

from __future__ import annotations

import ast
from typing import Any

from omniport.custom.constructor.layers import LAYERS, Unread
from omniport.custom.constructor.values import Module

STEPS = 200_000  # statements and expressions of one constructor
MODULES = frozenset({"Module", "ModelMixin", "PreTrainedModel", "ModuleList", "Sequential", *LAYERS})


class Source:
    """What the text defines, and how far its reading has come."""

    def __init__(self, tree: ast.Module) -> None:
        self.classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
        self.functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.foreign: dict[str, str] = {}
        self.values: dict[str, ast.expr] = {}
        self.modified: set[str] = set()
        self.tied: dict[tuple[int, str], tuple[Module, str]] = {}
        self.line = 0
        self.steps = 0
        self.depth = 0
        for node in tree.body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    self.foreign[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.foreign[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id not in self.values:
                        self.values[target.id] = node.value
                    else:
                        self.modified |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self.values[node.target.id] = node.value
            elif not isinstance(node, ast.ClassDef | ast.FunctionDef):
                self.modified |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}

    def count(self, node: ast.AST) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise Unread(f"more than {STEPS} steps")
        if self.depth <= 1:
            self.line = getattr(node, "lineno", self.line)

    def is_module(self, name: str) -> bool:
        return any(base.rsplit(".", 1)[-1] in MODULES for base in self.line_of(name))

    def line_of(self, name: str) -> list[str]:
        """The class and its bases, nearest first; foreign ones as dotted paths."""
        found, todo = [], [name]
        while todo:
            one = todo.pop(0)
            if one in found:
                continue
            found.append(one)
            if one in self.classes:
                todo += [self.path(base) for base in self.classes[one].bases]
        return found

    def path(self, node: ast.expr) -> str:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        head = node.id if isinstance(node, ast.Name) else "?"
        return ".".join([self.foreign.get(head, head), *reversed(parts)])

    def method(self, cls: str, name: str, after: str = "") -> tuple[str, ast.FunctionDef] | None:
        line = [c for c in self.line_of(cls) if c in self.classes]
        for one in line[line.index(after) + 1 if after in line else 0 :]:
            for node in self.classes[one].body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    return one, node
        return None

    # what the readers built on this add
    def value(self, node: ast.expr, scope: dict[str, Any], owner: Module | None, cls: str) -> Any:
        raise NotImplementedError

    def called(self, node: ast.Call, scope: dict[str, Any], owner: Module | None, cls: str) -> Any:
        raise NotImplementedError

    def run(self, body: list[ast.stmt], scope: dict[str, Any], owner: Module | None, cls: str) -> None:
        raise NotImplementedError

    def assign(self, target: ast.expr, value: Any, scope: dict[str, Any], owner: Module | None, cls: str) -> None:
        raise NotImplementedError

    def set(self, held: Any, name: str, value: Any, target: ast.expr) -> None:
        raise NotImplementedError
