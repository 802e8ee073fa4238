"""What the modules of a package bind at their top level, read from their text."""

from __future__ import annotations

import ast
from dataclasses import field
from pathlib import Path

from omniport.records import dataclass
from omniport.source.nodes import each_node
from omniport.target.parsed import parsed


@dataclass
class Module:
    """A module found: its file or its text; a folder without ``__init__`` has neither."""

    name: str
    path: Path | None = None
    text: str | None = None
    folder: Path | None = None

    def read(self) -> str:
        if self.text is None:
            self.text = self.path.read_text("utf-8", errors="replace") if self.path else ""
        return self.text

    @property
    def is_source(self) -> bool:
        return self.path is None or self.path.suffix == ".py"


@dataclass
class Names:
    """What the body of a module binds."""

    bound: set[str] = field(default_factory=set)
    imported: dict[str, str] = field(default_factory=dict)  # local name -> module it is bound to by an import
    exported: set[str] | None = None  # a literal __all__
    strings: set[str] = field(default_factory=set)  # of a lazy module
    lazy: bool = False  # replaces itself by a lazy module, or has __getattr__: strings name what it exports
    dynamic: bool = False  # makes names at run time: __getattr__, globals()
    broken: bool = False


def read_names(module: Module) -> Names:
    """What a module binds; ``broken`` where it is no Python."""
    names = Names()
    text = module.read()
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        names.broken = True
        return names
    names.lazy = "_LazyModule(" in text
    names.dynamic = "define_import_structure(" in text  # transformers reads the list from its folders
    _body(tree.body, names)
    if names.lazy:
        names.strings = {n.value for n in each_node(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return names


def _body(body: list[ast.stmt], names: Names) -> None:
    """Collect the bindings of statements that run at module level, whatever their conditions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.bound.add(node.name)
            if node.name == "__getattr__":
                names.lazy = names.dynamic = True
            continue
        if isinstance(node, ast.ImportFrom):
            names.bound.update(alias.asname or alias.name for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                names.bound.add(local)
                names.imported[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            _assignment(node, names)
        for inner in ("body", "orelse", "finalbody"):
            _body(getattr(node, inner, []), names)
        for handler in getattr(node, "handlers", []):
            _body(handler.body, names)
        if isinstance(node, ast.For | ast.With | ast.Expr) and not names.dynamic:
            names.dynamic = any(_is_globals(n) for n in each_node(node))
        if isinstance(node, ast.For):
            names.bound.update(n.id for n in each_node(node.target) if isinstance(n, ast.Name))


def _assignment(node: ast.Assign | ast.AnnAssign | ast.AugAssign, names: Names) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        names.bound.update(n.id for n in each_node(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        names.dynamic |= any(_is_globals(n) for n in each_node(target))
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(node.value, ast.List | ast.Tuple):
            texts = [e.value for e in node.value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
            names.exported = (names.exported or set()) | set(texts)


def _is_globals(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "globals"


def absolute(module: Module, written: str) -> str:
    """The absolute name of a module as ``from`` writes it in ``module``."""
    level = len(written) - len(written.lstrip("."))
    if not level:
        return written
    is_package = module.folder is not None or (module.path is not None and module.path.name == "__init__.py")
    parts = module.name.split(".")
    drop = level - (1 if is_package else 0)
    return ".".join([*(parts[:-drop] if drop else parts), *([written[level:]] if written[level:] else [])])
