"""The closure of a class of a custom repository, as one module: all that a port of it must bring along.

Path A imports from diffusers what holds nothing to change; of a custom repository nothing can be imported.  So the
slice holds every class, function and constant that the class needs, in dependency order and word for word, and says
which names come from other packages.  Where two definitions of one name are needed, the later found is renamed.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Iterator
from dataclasses import field

from omniport.custom.code import CodeFile, CodeTree
from omniport.errors import UnsupportedError
from omniport.plan.model import Why
from omniport.records import dataclass

LOGGING = "logging"
LOGGING_WHY = Why("loggers are vLLM's")
_LOG = re.compile(r"log(ger|ging)?\Z")
_GETS_LOGGER = re.compile(r"\b(get_?[lL]ogger|init_logger)\(")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Piece:
    """One definition; ``names`` are what its statement binds, ``text`` is as it stands in ``file``."""

    names: tuple[str, ...]
    file: str
    line: int
    text: str = field(repr=False)


@dataclass(frozen=True)
class Foreign:
    """A name of another package; ``attribute`` None for ``import module``."""

    name: str
    module: str
    attribute: str | None
    why: Why

    @property
    def meaning(self) -> str:
        """``from torch import nn`` and ``import torch.nn as nn`` mean the same."""
        whole = self.module if self.attribute is None else f"{self.module}.{self.attribute}"
        return whole if self.attribute is not None or self.name != self.module.split(".")[0] else self.name

    def line(self) -> str:
        if self.attribute is not None:
            alias = "" if self.attribute == self.name else f" as {self.name}"
            return f"from {self.module} import {self.attribute}{alias}"
        return f"import {self.module}" + ("" if self.name == self.module.split(".")[0] else f" as {self.name}")


@dataclass(frozen=True)
class Slice:
    """The closure, in dependency order; ``renamed`` are names that two files define."""

    root: str
    pieces: tuple[Piece, ...]
    foreign: tuple[Foreign, ...]
    renamed: tuple[Why, ...]

    def text(self) -> str:
        """The slice as a module."""
        imports = sorted({f.line() for f in self.foreign}, key=lambda line: (line.startswith("from"), line))
        return "\n".join(imports) + "\n\n\n" + "\n\n\n".join(piece.text for piece in self.pieces) + "\n"

    def where(self, line: int) -> tuple[str, int]:
        """File and line of the repository that a line of :meth:`text` is."""
        start = len({f.line() for f in self.foreign}) + 3
        for piece in self.pieces:
            end = start + piece.text.count("\n")
            if line <= end:
                return piece.file, piece.line + max(line - start, 0)
            start = end + 3
        return self.pieces[-1].file, self.pieces[-1].line


def cut(tree: CodeTree, file: CodeFile, name: str) -> Slice:
    """The closure of the class ``name`` of ``file``.

    Raises:
        UnsupportedError: a name that nothing explains, or a module of the repository that is used as a namespace.
    """
    cutter = _Cutter(tree)
    cutter.need(file, name)
    return Slice(name, tuple(cutter.pieces), tuple(cutter.foreign.values()), tuple(cutter.renamed))


class _Cutter:
    def __init__(self, tree: CodeTree) -> None:
        self.tree = tree
        self.pieces: list[Piece] = []
        self.foreign: dict[str, Foreign] = {}
        self.renamed: list[Why] = []
        self._done: dict[tuple[str, str], str] = {}  # file and name -> name in the slice
        self._taken: dict[str, str] = {}  # name in the slice -> the file it is from

    def need(self, file: CodeFile, name: str) -> str:
        """Bring ``name`` of ``file``; the name that the slice has for it."""
        key = (file.path, name)
        if key in self._done:
            return self._done[key]
        statement = _bindings(file).get(name)
        if statement is not None and not isinstance(statement, ast.Import | ast.ImportFrom):
            return self._bring(file, name, statement)
        if name in file.imports:
            self._done[key] = self._import(file, name)
        elif (starred := self._starred(file, name)) is not None:
            self._done[key] = self.need(starred, name)
        elif hasattr(builtins, name) or name in ("__name__", "__file__"):
            self._done[key] = name
        else:
            raise UnsupportedError(f"{name}: nothing in the file defines it", file.path, 0)
        return self._done[key]

    def _import(self, file: CodeFile, name: str) -> str:
        module, attribute = file.imports[name]
        target = self.tree.module(module, file)
        if target is not None and attribute is not None:
            if attribute in _bindings(target) or attribute in target.imports or self._starred(target, attribute):
                return self.need(target, attribute)
            if self.tree.module(f"{module}.{attribute}", file) is None:
                raise UnsupportedError(f"{name}: {target.path} does not define {attribute}", file.path, 0)
        if attribute and _LOG.match(attribute) and self.tree.module(f"{module}.{attribute}", file) is not None:
            return self._logger(file, name)
        if target is not None or (attribute and self.tree.module(f"{module}.{attribute}", file) is not None):
            raise UnsupportedError(f"{name}: a module of the repository is used as a namespace", file.path, 0)
        known = self.foreign.get(name)
        here = Foreign(name, module, attribute, file.why(f"{name} is of {module}"))
        if known is not None and known.meaning != here.meaning:
            raise UnsupportedError(f"{name} means {known.line()!r} and {here.line()!r}", file.path, 0)
        self.foreign.setdefault(name, here)
        return name

    def _logger(self, file: CodeFile, name: str) -> str:
        """A logger of the repository's own making becomes a plain one, once."""
        if self._taken.setdefault(name, LOGGING) != LOGGING:
            raise UnsupportedError(f"{name} is a logger here and something else in {self._taken[name]}", file.path, 0)
        if not any(name in piece.names for piece in self.pieces):
            self.foreign.setdefault("init_logger", Foreign("init_logger", "vllm.logger", "init_logger", LOGGING_WHY))
            self.pieces.append(Piece((name,), LOGGING, 0, f"{name} = init_logger(__name__)"))
        return name

    def _starred(self, file: CodeFile, name: str) -> CodeFile | None:
        for node in file.statements:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                target = self.tree.module(file.absolute(node), file)
                if target is not None and (name in _bindings(target) or name in target.imports):
                    return target
        return None

    def _bring(self, file: CodeFile, name: str, statement: ast.stmt) -> str:
        if isinstance(statement, ast.Assign) and _GETS_LOGGER.search(ast.unparse(statement.value)):
            self._done[(file.path, name)] = self._logger(file, name)
            return name
        bound = tuple(n for n, found in _bindings(file).items() if found is statement)
        renames: dict[str, str] = {}
        for own in bound:
            taken = self._taken.get(own)
            if taken is not None and taken != file.path:
                renames[own] = f"{_camel(file.parts[-1])}{own}" if own[:1].isupper() else f"{own}_{file.parts[-1]}"
                why = f"{own} of {file.path} is {renames[own]}, since {taken} has one too"
                self.renamed.append(file.why(why, statement))
            self._done[(file.path, own)] = renames.get(own, own)
            self._taken.setdefault(renames.get(own, own), file.path)
        statements = _written(file, bound, statement)
        for used in sorted(set().union(*map(_free, statements)) - set(bound)):
            if (
                used in _bindings(file)
                or used in file.imports
                or self._starred(file, used)
                or not hasattr(builtins, used)
            ):
                new = self.need(file, used)
                if new != used:
                    renames[used] = new
        text = "\n".join(_text(file, part) for part in statements)
        self.pieces.append(Piece(bound, file.path, statement.lineno, _rename(text, renames)))
        return self._done[(file.path, name)]


def _bindings(file: CodeFile) -> dict[str, ast.stmt]:
    """Module-level names -> the outermost statement that binds them (the last one, as at run time)."""
    found: dict[str, ast.stmt] = {}
    for outer in file.tree.body:
        for node in _within(outer):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = outer
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {n.id: outer for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            elif isinstance(node, ast.Import | ast.ImportFrom) and node is not outer:
                found |= {(a.asname or a.name).split(".")[0]: outer for a in node.names}
    return found


def _written(file: CodeFile, names: tuple[str, ...], statement: ast.stmt) -> list[ast.stmt]:
    """All statements of the module that bind ``names`` or call something of them, in order."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement]
    found = []
    for outer in file.tree.body:
        if isinstance(outer, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = outer.targets if isinstance(outer, ast.Assign) else [outer.target]
            touched = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        elif isinstance(outer, ast.Expr) and isinstance(outer.value, ast.Call):
            root = outer.value.func
            while isinstance(root, ast.Attribute):
                root = root.value
            touched = {root.id} if isinstance(root, ast.Name) and isinstance(outer.value.func, ast.Attribute) else set()
        else:
            touched = set()
        if outer is statement or touched & set(names):
            found.append(outer)
    return found


def _text(file: CodeFile, statement: ast.stmt) -> str:
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(file.lines[first - 1 : statement.end_lineno])


def _within(node: ast.stmt) -> Iterator[ast.stmt]:
    yield node
    if isinstance(node, ast.If | ast.Try | ast.With | ast.For):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from _within(child)
            elif isinstance(child, ast.ExceptHandler):
                for inner in child.body:
                    yield from _within(inner)


def _free(statement: ast.stmt) -> set[str]:
    """Names that a statement reads and that are not bound in the function that reads them."""
    return _reads(statement, frozenset())


def _reads(node: ast.AST, bound: frozenset[str]) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id} - bound if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.AnnAssign | ast.arg) and isinstance(node.annotation, ast.Constant):
        return set()  # a forward reference
    found: set[str] = set()
    inner = bound
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for outside in (*node.args.defaults, *filter(None, node.args.kw_defaults), *_annotations(node)):
            found |= _reads(outside, bound)
        inner = bound | _locals(node)
        body = node.body if isinstance(node.body, list) else [node.body]
        for child in body:
            found |= _reads(child, inner)
        for decorator in getattr(node, "decorator_list", []):
            found |= _reads(decorator, bound)
        return found
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        inner = bound | {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
    if isinstance(node, ast.ClassDef):
        return _reads_of_class(node, bound)
    for part in ast.iter_child_nodes(node):
        found |= _reads(part, inner)
    return found


def _reads_of_class(node: ast.ClassDef, bound: frozenset[str]) -> set[str]:
    """Statements of a class body see its names; its methods do not, but for their decorators."""
    names = {n.id for s in node.body if not isinstance(s, _SCOPES) for n in ast.walk(s) if isinstance(n, ast.Name)}
    inner = bound | {n for n in names if any(_stored(m) and m.id == n for s in node.body for m in ast.walk(s))}  # type: ignore[attr-defined]
    inner |= {s.name for s in node.body if isinstance(s, ast.FunctionDef | ast.ClassDef)}
    found: set[str] = set()
    for outside in (*node.bases, *(k.value for k in node.keywords), *node.decorator_list):
        found |= _reads(outside, bound)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in statement.decorator_list:
                found |= _reads(decorator, inner)
            plain = copy.copy(statement)
            plain.decorator_list = []
            found |= _reads(plain, bound)
        else:
            found |= _reads(statement, inner)
    return found


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.expr]:
    args = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    found = [a.annotation for a in args if a.annotation is not None]
    returns = getattr(node, "returns", None)
    return found + ([returns] if returns is not None else [])


def _locals(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    args = node.args
    found = {a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)}
    found |= {a.arg for a in (args.vararg, args.kwarg) if a is not None}
    if isinstance(node, ast.Lambda):
        return found
    for child in ast.walk(node):
        if _stored(child):
            found.add(child.id)  # type: ignore[attr-defined]
        elif isinstance(child, ast.FunctionDef | ast.ClassDef) and child is not node:
            found.add(child.name)
        elif isinstance(child, ast.Import | ast.ImportFrom):
            found |= {(a.asname or a.name).split(".")[0] for a in child.names}
        elif isinstance(child, ast.ExceptHandler) and child.name:
            found.add(child.name)
        elif isinstance(child, ast.Global):
            found -= set(child.names)
    return found


def _stored(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _camel(stem: str) -> str:
    return "".join(word.capitalize() for word in stem.split("_"))


def _rename(text: str, renames: dict[str, str]) -> str:
    """Rename free names in a definition; attributes, keywords and strings stay."""
    if not renames:
        return text
    import libcst as cst

    class Renamer(cst.CSTTransformer):
        def visit_Attribute(self, node: cst.Attribute) -> bool:
            return True

        def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
            return updated_node.with_changes(attr=original_node.attr)

        def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
            return updated_node.with_changes(keyword=original_node.keyword)

        def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
            return cst.Name(renames.get(original_node.value, original_node.value))

    indent = re.match(r"[ \t]*", text)
    assert indent is not None
    return cst.parse_module(text).visit(Renamer()).code
