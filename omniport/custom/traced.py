"""Which table of values the repository builds a class with: the call of it, followed back to where the values stand.

Followed are names that are bound once on the way to the call: to a dictionary that is written out, or to a JSON or YAML
file that is opened by a literal name.  What is handed to other code on the way may be changed there: it is not known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

from omniport.custom.code import ClassRef, CodeFile, CodeTree
from omniport.custom.facts import dotted
from omniport.errors import UnsupportedError
from omniport.plan.model import Why
from omniport.records import dataclass

_PARSES = frozenset({"json.load", "yaml.safe_load", "yaml.load"})  # an open file
_READS = frozenset({"OmegaConf.load"})  # a path
_TABLES = frozenset({"dict", "EasyDict", "edict", "SimpleNamespace"})
_JOINS = frozenset({"os.path.join", "Path", "pathlib.Path"})
_END = 1 << 31


@dataclass(frozen=True)
class Table:
    """Lines ``first`` to ``last`` of a file; ``why`` is the place where the class is given it."""

    file: str
    first: int
    last: int
    why: Why


@dataclass(frozen=True)
class _Path:
    """The literal end of a path, in parts; ``opened`` of a file object."""

    parts: tuple[str, ...]
    opened: bool = False


_Value = Table | _Path | None  # None: not known


def tables_given(tree: CodeTree, cls: ClassRef, parameters: tuple[str, ...]) -> dict[str, Table]:
    """The table that each parameter of the constructor is given, the same in every call of the class.

    Args:
        tree: the repository.
        cls: the class.
        parameters: of its constructor, in order, without ``self``.

    Raises:
        UnsupportedError: nothing calls it, or two calls give other tables; the message names the place.
    """
    found: dict[str, Table] = {}
    first: Why | None = None
    for file, scope, call in _calls(tree, cls):
        why = file.why(f"{cls.name} is built here", call)
        if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
            raise UnsupportedError(f"{cls.name} is built with unpacked arguments", file.path, call.lineno)
        known = _Scope(tree, file).before(scope, call)
        given = dict(zip(parameters, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
        here = {}
        for name, value in given.items():
            table = known.value(value)
            if isinstance(table, Table):
                here[name] = Table(table.file, table.first, table.last, why)
        if first is not None and _places(here) != _places(found):
            where = f"{first.file}:{first.line}"
            raise UnsupportedError(f"{cls.name} is built with other values than in {where}", file.path, call.lineno)
        found, first = here, first or why
    if first is None:
        raise UnsupportedError(f"nothing in the repository builds {cls.name}", cls.file.path, cls.node.lineno)
    return found


def _places(tables: dict[str, Table]) -> dict[str, tuple[str, int]]:
    return {name: (table.file, table.first) for name, table in tables.items()}


def _calls(tree: CodeTree, cls: ClassRef) -> Iterator[tuple[CodeFile, list[ast.stmt], ast.Call]]:
    """Every call of the class, with its file and the body of the function (or module) that it stands in."""
    for file in tree.files:
        if cls.name not in file.text:
            continue
        todo: list[tuple[ast.AST, list[ast.stmt]]] = [(node, file.tree.body) for node in file.tree.body]
        while todo:
            node, scope = todo.pop()
            inner = node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else scope
            name = dotted(node.func) if isinstance(node, ast.Call) else ""
            if name.rpartition(".")[2] == cls.name and ("." in name or tree.resolve(file, name) == cls):
                assert isinstance(node, ast.Call)
                yield file, scope, node
            todo += [(child, inner) for child in ast.iter_child_nodes(node)]


class _Scope:
    """What names mean on the way to one call."""

    def __init__(self, tree: CodeTree, file: CodeFile) -> None:
        self._tree = tree
        self._file = file
        self._known: dict[str, _Value] = {}

    def before(self, body: list[ast.stmt], call: ast.Call) -> _Scope:
        if body is not self._file.tree.body:
            self._run(self._file.tree.body, None)
        self._run(body, call)
        return self

    def _run(self, body: list[ast.stmt], call: ast.Call | None) -> bool:
        """Follow statements; whether the call was reached."""
        for node in body:
            holds = call is not None and any(inner is call for inner in ast.walk(node))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.With) and all(_opens(item) for item in node.items):
                for item in node.items:
                    self._bind(item.optional_vars, item.context_expr)
                if self._run(node.body, call if holds else None):
                    return True
            elif isinstance(node, ast.If) and holds:
                self._forget(node.test)
                return self._run(node.body, call) or self._run(node.orelse, call)
            elif holds:
                if not isinstance(node, ast.Assign | ast.AnnAssign | ast.Return | ast.Expr):
                    self._forget(node)
                return True
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self._bind(node.targets[0], node.value)
            elif not isinstance(node, ast.Assert):
                self._forget(node)
        return False

    def _bind(self, target: ast.expr | None, value: ast.expr) -> None:
        found = self.value(value)
        if found is None:
            self._forget(value)
        if isinstance(target, ast.Name):
            self._known[target.id] = found

    def _forget(self, node: ast.AST) -> None:
        """What a statement binds, changes or hands on; reading one entry changes nothing."""
        read = {
            id(n.value)
            for n in ast.walk(node)
            if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load) and isinstance(n.value, ast.Name)
        }
        for name in (n for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in read):
            if not isinstance(self._known.get(name.id), _Path) or isinstance(name.ctx, ast.Store):
                self._known[name.id] = None

    def value(self, node: ast.expr) -> _Value:
        if isinstance(node, ast.Name):
            return self._known[node.id] if node.id in self._known else self._imported(node.id)
        if isinstance(node, ast.Dict):
            return Table(self._file.path, node.lineno, node.end_lineno or node.lineno, self._file.why("", node))
        if isinstance(node, ast.Constant):
            return _Path(_split(node.value)) if isinstance(node.value, str) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self._joined([node.right])
        if not isinstance(node, ast.Call):
            return None
        name = dotted(node.func)
        if name == "open" and node.args:
            path = self.value(node.args[0])
            return _Path(path.parts, True) if isinstance(path, _Path) else None
        if name in _JOINS:
            return self._joined(node.args)
        if name in _PARSES | _READS and node.args:
            path = self.value(node.args[0])
            return self._file_of(path) if isinstance(path, _Path) and path.opened is (name in _PARSES) else None
        if name.rpartition(".")[2] in _TABLES:
            return Table(self._file.path, node.lineno, node.end_lineno or node.lineno, self._file.why("", node))
        return None

    def _imported(self, name: str) -> _Value:
        """What a name of another module of the repository is bound to there."""
        module, attribute = self._file.imports.get(name, (None, None))
        target = self._tree.module(module, self._file) if module and attribute else None
        if target is None or attribute is None or target == self._file:
            return None
        there = _Scope(self._tree, target)
        there._run(target.tree.body, None)
        return there._known.get(attribute)

    def _joined(self, parts: list[ast.expr]) -> _Path | None:
        """The literal parts at the end of a joined path."""
        found: tuple[str, ...] = ()
        for part in reversed(parts):
            value = self.value(part)
            if not isinstance(value, _Path):
                break
            found = value.parts + found
        return _Path(found) if found else None

    def _file_of(self, path: _Path) -> Table | None:
        """The one file of the repository whose path ends so."""
        ends = [p for p in self._tree.others if PurePosixPath(p).parts[-len(path.parts) :] == path.parts]
        return Table(ends[0], 0, _END, Why("", ends[0])) if len(ends) == 1 else None


def _opens(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and dotted(item.context_expr.func) == "open"


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(text).parts if part not in ("/", "."))
