"""One file of a port, parsed once and indexed in one walk, for every rule to read."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.ClassDef | ast.Lambda


class SourceFile:
    """A parsed file.

    Args:
        path: the path as findings show it.
        text: its content.

    Raises:
        SyntaxError, ValueError: the text is not Python (ValueError: it holds a null byte).
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.tree = ast.parse(text, filename=str(path))

    def __repr__(self) -> str:
        return f"SourceFile({self.path})"

    @functools.cached_property
    def _index(self) -> tuple[dict[type[ast.AST], list[ast.AST]], dict[ast.AST, ast.AST]]:
        """Nodes by type, and the parent of each; built on first use, for most files break no rule's first test."""
        nodes: dict[type[ast.AST], list[ast.AST]] = {}
        parents: dict[ast.AST, ast.AST] = {}
        queue: list[ast.AST] = [self.tree]
        for node in queue:  # grows while it is read
            kind = type(node)
            if kind in nodes:
                nodes[kind].append(node)
            else:
                nodes[kind] = [node]
            for field in node._fields:
                value = getattr(node, field, None)
                for child in value if isinstance(value, list) else (value,):
                    # load and store contexts are shared singletons: they have no one parent
                    if isinstance(child, ast.AST) and not isinstance(child, ast.expr_context):
                        parents[child] = node
                        queue.append(child)
        return nodes, parents

    def nodes(self, kind: type[Node], within: ast.AST | None = None) -> Iterator[Node]:
        """Every node of exactly this type, in the order of the source; ``within`` keeps those below that node."""
        found: list[Node] = self._index[0].get(kind, [])  # type: ignore[assignment]
        if within is not None:
            found = [n for n in ast.walk(within) if type(n) is kind]
        return iter(sorted(found, key=lambda n: (getattr(n, "lineno", 0), getattr(n, "col_offset", 0))))

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around ``node``, innermost first."""
        links = self._index[1]
        while (parent := links.get(node)) is not None:
            yield parent
            node = parent

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._index[1].get(node)

    def enclosing_class(self, node: ast.AST) -> ast.ClassDef | None:
        """The innermost class around ``node``."""
        return next((p for p in self.parents(node) if isinstance(p, ast.ClassDef)), None)

    def enclosing_function(self, node: ast.AST) -> Function | None:
        """The innermost function or method around ``node``."""
        return next((p for p in self.parents(node) if isinstance(p, ast.FunctionDef | ast.AsyncFunctionDef)), None)

    def line(self, number: int) -> str:
        """The text of a 1-based line, stripped; empty if there is none."""
        return self._lines[number - 1].strip() if 0 < number <= len(self._lines) else ""

    def mentions(self, name: str) -> bool:
        """Whether ``name`` occurs anywhere in the text; a cheap test before a search of the tree."""
        return name in self.text

    @functools.cached_property
    def _lines(self) -> list[str]:
        return self.text.splitlines()

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Classes by name, nested ones too; the last definition of a name wins."""
        return {node.name: node for node in self.nodes(ast.ClassDef)}

    @functools.cached_property
    def imports(self) -> dict[str, str]:
        """Local name -> dotted origin; relative imports keep their leading dots."""
        found: dict[str, str] = {}
        for node in self.nodes(ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"
        for plain in self.nodes(ast.Import):
            for alias in plain.names:
                found[alias.asname or alias.name.split(".")[0]] = alias.name
        return found

    def calls(self, *names: str, within: ast.AST | None = None) -> Iterator[ast.Call]:
        """Calls whose function is, or is an attribute, called one of ``names``."""
        for call in self.nodes(ast.Call, within):
            if last_name(call.func) in names:
                yield call


def dotted(node: ast.AST | None) -> str:
    """``self.to_qkv.num_heads`` for such a chain of names; empty for every other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def last_name(node: ast.AST) -> str:
    """The name of a variable, or the last attribute of any expression; empty for every other expression."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument, None if the call does not give it by keyword."""
    return next((k.value for k in call.keywords if k.arg == name), None)


def has_star(call: ast.Call) -> bool:
    """Whether ``*args`` or ``**kwargs`` may carry arguments that the source does not show."""
    return any(k.arg is None for k in call.keywords) or any(isinstance(a, ast.Starred) for a in call.args)


def constant(node: ast.AST | None) -> object:
    """The value of a literal constant; None for everything else."""
    return node.value if isinstance(node, ast.Constant) else None


def method(cls: ast.ClassDef, name: str) -> Function | None:
    """The method of that name that the class body itself defines."""
    return next((n for n in cls.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name), None)


def parameters(function: Function | None) -> list[str]:
    """The names of all parameters, ``self`` too; empty for no function."""
    if function is None:
        return []
    args = function.args
    return [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]


def class_attributes(cls: ast.ClassDef) -> dict[str, ast.expr | None]:
    """Names that the class body binds -> value (None for a bare annotation)."""
    found: dict[str, ast.expr | None] = {}
    for node in cls.body:
        if isinstance(node, ast.Assign):
            found |= {t.id: node.value for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node.value
    return found


def bound_names(target: ast.AST) -> set[str]:
    """The variables that an assignment or loop target binds."""
    return {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
