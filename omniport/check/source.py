"""One file of a port, parsed once and indexed in one walk, for every rule to read."""

from __future__ import annotations

import ast
import functools
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from omniport.check.finding import Edit

Node = TypeVar("Node", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.ClassDef | ast.Lambda


#: fields that hold no node: without them, names and constants, half of all nodes, have nothing to look through
_PLAIN = frozenset({"arg", "attr", "conversion", "ctx", "id", "is_async", "kind", "level", "module", "n", "name"})
_PLAIN |= {"names", "op", "ops", "s", "simple", "type_comment", "type_ignores"}


_SCOPES = (ast.ClassDef, ast.FunctionDef)


class _Index:
    """Nodes numbered so that those below one are a range: ``order[start[node]:end[node]]``."""

    def __init__(self, root: ast.AST) -> None:
        self.order: list[ast.AST] = []
        self.start: dict[ast.AST, int] = {}
        self.parents: dict[ast.AST, ast.AST] = {}
        self.kinds: dict[type[ast.AST], list[ast.AST]] = {}
        self.places: dict[type[ast.AST], list[int]] = {}
        self._number(root)
        self.end = self._ends()

    def _number(self, root: ast.AST) -> None:
        order, start, parents, kinds, places = self.order, self.start, self.parents, self.kinds, self.places
        stack = [root]
        while stack:
            node = stack.pop()
            kind = type(node)
            number = len(order)
            start[node] = number
            order.append(node)
            if kind in _SCOPES:
                node._index = self  # type: ignore[attr-defined]  # for ``walk``, which is given no file
            if kind in kinds:
                kinds[kind].append(node)
                places[kind].append(number)
            else:
                kinds[kind], places[kind] = [node], [number]
            below: list[ast.AST] = []
            for field in _FIELDS[kind]:
                value = getattr(node, field, None)
                if value.__class__ is list:
                    for child in value:
                        if isinstance(child, ast.AST):
                            parents[child] = node
                            below.append(child)
                elif isinstance(value, ast.AST):
                    parents[value] = node
                    below.append(value)
            below.reverse()
            stack += below

    def _ends(self) -> dict[ast.AST, int]:
        """The number after the last node below each: children come behind their parent, so from the back."""
        start, parents = self.start, self.parents
        end = {node: number + 1 for node, number in start.items()}
        for node in reversed(self.order):
            parent = parents.get(node)
            if parent is not None and end[node] > end[parent]:
                end[parent] = end[node]
        return end


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields of a type that can hold nodes, operators and contexts left out: they are shared by all places."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        names = kind in (ast.Import, ast.ImportFrom)
        self[kind] = ("names",) if names else tuple(field for field in kind._fields if field not in _PLAIN)
        return self[kind]


_FIELDS = _Fields()


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
    def _index(self) -> _Index:
        """Every node in the order of the source; built on first use, for most files break no rule's first test."""
        return _Index(self.tree)

    def nodes(self, kind: type[Node], within: ast.AST | None = None) -> Iterator[Node]:
        """Every node of exactly this type, in the order of the source; ``within`` keeps those below that node."""
        index = self._index
        found: list[Node] = index.kinds.get(kind, [])  # type: ignore[assignment]
        if within is None:
            return iter(found)
        places = index.places[kind] if found else []
        start = index.start[within]
        return iter(found[bisect_left(places, start) : bisect_left(places, index.end[within])])

    def walk(self, node: ast.AST) -> list[ast.AST]:
        """A node and all nodes below it, in the order of the source."""
        return self._index.order[self._index.start[node] : self._index.end[node]]

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around ``node``, innermost first."""
        links = self._index.parents
        while (parent := links.get(node)) is not None:
            yield parent
            node = parent

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._index.parents.get(node)

    def enclosing_class(self, node: ast.AST) -> ast.ClassDef | None:
        """The innermost class around ``node``."""
        return next((p for p in self.parents(node) if isinstance(p, ast.ClassDef)), None)

    def enclosing_function(self, node: ast.AST) -> Function | None:
        """The innermost function or method around ``node``."""
        return next((p for p in self.parents(node) if isinstance(p, ast.FunctionDef | ast.AsyncFunctionDef)), None)

    def line(self, number: int) -> str:
        """The text of a 1-based line, stripped; empty if there is none."""
        return self._lines[number - 1].strip() if 0 < number <= len(self._lines) else ""

    def segment(self, node: ast.AST) -> str | None:
        """The text of a node as it stands."""
        return ast.get_source_segment(self.text, node)

    def lines_of(self, node: ast.stmt | ast.expr) -> str:
        """The whole lines that a node stands on: much cheaper than :meth:`segment`."""
        return "\n".join(self._lines[node.lineno - 1 : node.end_lineno])

    def edit(self, node: ast.expr | ast.stmt | ast.keyword | ast.alias, text: str) -> Edit:
        """An edit that puts ``text`` in the place of a node."""
        end_line, end_col = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        return Edit(node.lineno, node.col_offset, end_line, end_col, text)

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


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it in the order of the source: ``ast.walk`` at a third of its cost, or less if indexed."""
    index: _Index | None = getattr(node, "_index", None)
    return _walk(node) if index is None else iter(index.order[index.start[node] : index.end[node]])


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        below: list[ast.AST] = []
        for field in _FIELDS[node.__class__]:
            value = getattr(node, field, None)
            if value.__class__ is list:
                below += [child for child in value if isinstance(child, ast.AST)]
            elif isinstance(value, ast.AST):
                below.append(value)
        below.reverse()
        stack += below


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
    return {n.id for n in walk(target) if isinstance(n, ast.Name)}


def packages_imported(file: SourceFile) -> Iterator[tuple[ast.stmt, str]]:
    """Each import that is made as the module is, unguarded, and the top-level package that it needs."""
    for node in file.tree.body:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node, (node.module or "").partition(".")[0]
