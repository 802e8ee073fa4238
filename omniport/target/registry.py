"""The diffusion registry of a vLLM-Omni tree, read by AST: which pipeline class is served by which module.

The registry is one literal dict per table, bound once at module level; since 0.30 single entries are assigned after it
(``TABLE["alias"] = TABLE["other"]``).  Both forms are understood; any other change of a table at module level is
refused.
"""

from __future__ import annotations

import ast
from dataclasses import field
from pathlib import Path

from omniport.errors import OmniportError, UnsupportedError
from omniport.records import dataclass

MODELS = "_DIFFUSION_MODELS"
POST = "_DIFFUSION_POST_PROCESS_FUNCS"
PRE = "_DIFFUSION_PRE_PROCESS_FUNCS"
OTHERS = ("_DIFFUSION_IR_OP_PRIORITY_FUNCS", "_DIFFUSION_PREFIX_CACHE_FUNCS")
"""Further tables of functions in a pipeline's module, of which a port has none."""
NO_CACHE = "_NO_CACHE_ACCELERATION"
REGISTRY_FILE = "diffusion/registry.py"

_READERS = frozenset({"len", "dict", "list", "set", "sorted", "tuple", "frozenset", "iter", "print"})
_MUTATORS = frozenset({"update", "setdefault", "pop", "popitem", "clear", "add", "discard", "remove"})


@dataclass(frozen=True)
class RegistryRow:
    """Where a pipeline class is implemented: ``<models package>.<folder>.<module>``, class ``cls``; 1-based ``line``.

    ``alias_of`` is the key whose row this one was assigned from.
    """

    folder: str
    module: str
    cls: str
    line: int
    alias_of: str | None = None


@dataclass(frozen=True)
class HookRow:
    """The factory of a post- or pre-process function or of another hook, a name in the pipeline's module."""

    function: str
    line: int
    alias_of: str | None = None


@dataclass(frozen=True)
class RegistryView:
    """The tables of a registry file; ``file`` is relative to the tree's root.  Keys are pipeline class names.

    ``others`` are the tables of :data:`OTHERS` that it has.
    """

    file: str
    models: dict[str, RegistryRow] = field(default_factory=dict)
    post: dict[str, HookRow] = field(default_factory=dict)
    pre: dict[str, HookRow] = field(default_factory=dict)
    no_cache: dict[str, int] = field(default_factory=dict)  # class name -> line
    others: dict[str, dict[str, HookRow]] = field(default_factory=dict)


def read_registry(tree: Path) -> RegistryView:
    """The registry of ``tree``: the package folder ``vllm_omni`` or a folder that holds it.

    Raises:
        OmniportError: there is no registry, it is not valid Python, or it holds no model table.
        UnsupportedError: a table is filled in a way that cannot be read without running it.
    """
    package = tree if (tree / REGISTRY_FILE).is_file() else tree / "vllm_omni"
    path = package / REGISTRY_FILE
    if not path.is_file():
        raise OmniportError(f"{tree}: no registry here (looked for {REGISTRY_FILE} and vllm_omni/{REGISTRY_FILE})")
    return parse_registry(read_text(path), f"{package.name}/{REGISTRY_FILE}")


def read_text(path: Path) -> str:
    """The text of a file with its line endings and byte order mark as they are on disk.

    Raises:
        OmniportError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise OmniportError(f"{path}: not UTF-8 text: {error}") from None
    except OSError as error:
        raise OmniportError(f"{path}: cannot be read: {error.strerror}") from None


def parse_registry(text: str, file: str) -> RegistryView:
    """The tables in the ``text`` of a registry; ``file`` names it in messages.  Raises as :func:`read_registry`."""
    try:
        tree = ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise OmniportError(f"{file}: not valid Python: {error}") from None
    tables = {name: _Table(name, file).read(tree) for name in (MODELS, POST, PRE, NO_CACHE, *OTHERS)}
    if not tables[MODELS].bound:
        raise OmniportError(f"{file}: no table {MODELS} in it; this is no vLLM-Omni diffusion registry")
    return RegistryView(
        file=file,
        models={k: _model_row(tables[MODELS], k) for k in tables[MODELS].rows},
        post={k: _hook_row(tables[POST], k) for k in tables[POST].rows},
        pre={k: _hook_row(tables[PRE], k) for k in tables[PRE].rows},
        no_cache={k: row.line for k, row in tables[NO_CACHE].rows.items()},
        others={n: {k: _hook_row(tables[n], k) for k in tables[n].rows} for n in OTHERS if tables[n].bound},
    )


@dataclass(frozen=True)
class _Row:
    value: ast.expr | None
    line: int
    alias_of: str | None = None


@dataclass
class _Table:
    """One table while the module is read top to bottom, as Python would fill it."""

    name: str
    file: str
    bound: bool = False
    rows: dict[str, _Row] = field(default_factory=dict)

    def refuse(self, what: str, line: int) -> UnsupportedError:
        return UnsupportedError(f"{self.name} {what}; only literal rows and single aliases are read", self.file, line)

    def read(self, tree: ast.Module) -> _Table:
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue  # what runs later, such as register_diffusion_model, is not part of the file's own tables
            if not self._understood(statement):
                self._check_untouched(statement)
        return self

    def _understood(self, node: ast.stmt) -> bool:
        target: ast.expr
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            return False
        if isinstance(target, ast.Name) and target.id == self.name:
            if self.bound:
                raise self.refuse("is assigned twice", node.lineno)
            self._literal(value)
            self.bound = True
            return True
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == self.name:
            key = target.slice
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                raise self.refuse("gets a row whose key is no string", node.lineno)
            self._assign(key.value, value, node.lineno)
            return True
        return False

    def _literal(self, value: ast.expr) -> None:
        if isinstance(value, ast.Set):
            for element in value.elts:
                if not (isinstance(element, ast.Constant) and isinstance(element.value, str)):
                    raise self.refuse("has an element that is no string", element.lineno)
                self.rows[element.value] = _Row(None, element.lineno)
            return
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id == "set"
            and not value.args
        ):
            return
        if not isinstance(value, ast.Dict):
            raise self.refuse("is no literal", value.lineno)
        for key, row in zip(value.keys, value.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                raise self.refuse("has a row whose key is no string", row.lineno)
            self.rows.pop(key.value, None)
            self.rows[key.value] = _Row(row, key.lineno)

    def _assign(self, key: str, value: ast.expr, line: int) -> None:
        if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name) and value.value.id == self.name:
            other = value.slice
            if not (isinstance(other, ast.Constant) and isinstance(other.value, str) and other.value in self.rows):
                raise self.refuse("gets an alias of a row that is not there", line)
            self.rows[key] = _Row(self.rows[other.value].value, line, other.value)
        elif isinstance(value, ast.Tuple | ast.Constant):
            self.rows[key] = _Row(value, line)
        else:
            raise self.refuse("gets a row that is no literal", line)

    def _check_untouched(self, statement: ast.stmt) -> None:
        """Refuse a statement that could change the table: a loop, an update, a call that takes the table itself."""
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == self.name and not isinstance(node.ctx, ast.Load):
                raise self.refuse("is bound in a way that is not understood", node.lineno)
            if isinstance(node, ast.AugAssign) and _names(node.target, self.name):
                raise self.refuse("is changed in place", node.lineno)
            if isinstance(node, ast.Subscript) and _names(node.value, self.name) and not isinstance(node.ctx, ast.Load):
                raise self.refuse("is changed by a computed assignment", node.lineno)
            if isinstance(node, ast.Call):
                function = node.func
                if isinstance(function, ast.Attribute) and _names(function.value, self.name):
                    if function.attr in _MUTATORS:
                        raise self.refuse(f"is changed by .{function.attr}()", node.lineno)
                    continue
                given = (*node.args, *(k.value for k in node.keywords))
                harmless = isinstance(function, ast.Name) and function.id in _READERS
                if not harmless and any(_names(a, self.name) for a in given):
                    raise self.refuse("is handed to a function that may change it", node.lineno)


def _names(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _model_row(table: _Table, key: str) -> RegistryRow:
    row = table.rows[key]
    parts = [e.value for e in row.value.elts if isinstance(e, ast.Constant)] if isinstance(row.value, ast.Tuple) else []
    strings = [p for p in parts if isinstance(p, str)]
    if len(strings) != 3 or not isinstance(row.value, ast.Tuple) or len(row.value.elts) != 3:
        raise table.refuse(f"has a row {key!r} that is no tuple of three strings", row.line)
    return RegistryRow(strings[0], strings[1], strings[2], row.line, row.alias_of)


def _hook_row(table: _Table, key: str) -> HookRow:
    row = table.rows[key]
    if not (isinstance(row.value, ast.Constant) and isinstance(row.value.value, str)):
        raise table.refuse(f"has a row {key!r} that is no string", row.line)
    return HookRow(row.value.value, row.line, row.alias_of)
