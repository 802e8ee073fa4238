"""Do the imports of generated code exist?  Answered from files: nothing is imported and nothing is run.

Each module is searched in the files about to be written, then in the target tree (``vllm_omni``), then among the
installed packages, whose folder ``find_spec`` names without importing them.  A name must be bound in its module: by a
definition, an assignment, an import (also below ``if TYPE_CHECKING``, which is where packages with a lazy
``__init__`` such as diffusers and transformers list what they export) or, in a lazy ``__init__``, by a string.
What cannot be looked at here, because the package is not installed or the names are made at run time, is reported as
not checked.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from omniport.errors import OmniportError
from omniport.records import dataclass
from omniport.source.nodes import each_node
from omniport.source.toplevel import Definitions
from omniport.target.bindings import Module, Names, absolute, read_names
from omniport.target.kept import kept
from omniport.target.parsed import parsed


@dataclass(frozen=True)
class ImportFinding:
    """An import that does not resolve, or that could not be checked; ``line`` is 1-based."""

    file: str
    line: int
    name: str  # "module" or "module.name"
    reason: str


@dataclass(frozen=True)
class Resolution:
    """``missing`` do not exist; ``unchecked`` could not be looked at; ``resolved`` counts the rest."""

    missing: tuple[ImportFinding, ...]
    unchecked: tuple[ImportFinding, ...]
    resolved: int


def resolve_imports(sources: Mapping[str, str], package: Path | None, others: Iterable[Path] = ()) -> Resolution:
    """Resolve every import of ``sources`` (path relative to the root -> text), against the tree's ``package`` folder.

    Without ``package`` the installed ``vllm_omni`` is used.  ``others`` are package folders that stand for the
    installed packages of their names.

    Raises:
        OmniportError: a source is not valid Python.
    """
    finder = _Finder(sources, [*others, *([package] if package else [])])
    missing: list[ImportFinding] = []
    unchecked: list[ImportFinding] = []
    resolved = 0
    for file, text in sources.items():
        for line, module, name in imports(text, file):
            verdict = finder.check(module, name)
            full = module if name is None else f"{module}.{name}"
            if verdict is None:
                resolved += 1
            else:
                (unchecked if verdict.soft else missing).append(ImportFinding(file, line, full, verdict.reason))
    return Resolution(tuple(missing), tuple(unchecked), resolved)


def imports(text: str, file: str) -> Iterator[tuple[int, str, str | None]]:
    """Line, absolute module and name (None for ``import module``) of each import in ``text``; ``file`` is its path.

    An import under ``try`` with a handler for ``ImportError`` may fail, and is left out.

    Raises:
        OmniportError: ``text`` is not valid Python, or a relative import leaves the root.
    """
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise OmniportError(f"{file}: the generated text is not valid Python: {error}") from None
    package = _module_name(file).split(".") if file.endswith("/__init__.py") else _module_name(file).split(".")[:-1]
    nodes = each_node(tree)
    guarded = {inner for node in nodes if _guards(node) for inner in each_node(node)}
    for node in nodes:
        if not isinstance(node, ast.Import | ast.ImportFrom) or node in guarded:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        else:
            if node.level > len(package):
                raise OmniportError(f"{file}:{node.lineno}: a relative import that leaves the package")
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, module, None if alias.name == "*" else alias.name


def _guards(node: ast.AST) -> bool:
    if not isinstance(node, ast.Try):
        return False
    caught = {
        n.id for handler in node.handlers if handler.type for n in each_node(handler.type) if isinstance(n, ast.Name)
    }
    return bool(caught & {"ImportError", "ModuleNotFoundError"})


def _module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


_STAR = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+\*", re.M)

#: package -> (suffix it drops, names it drops it from, module with that rule, text that shows the rule): since
#: release 5 transformers has one class for XTokenizer and XTokenizerFast, and serves the second name as the first
_SUFFIXES = {
    "transformers": (
        "Fast",
        ("TokenizerFast", "ImageProcessorFast"),
        "transformers.utils.import_utils",
        'name.endswith("TokenizerFast")',
    )
}

_COMPILED = Path("compiled.so")  # stands for a module of the standard library without source


@dataclass(frozen=True)
class _Verdict:
    reason: str
    soft: bool  # not checked, rather than missing


class _Read:
    """What was read of modules, by their names."""

    def __init__(self) -> None:
        self.modules: dict[str, Module | None] = {}
        self.names: dict[str, Names] = {}
        self.definitions: dict[str, Definitions] = {}


class _Disk(_Read):
    """What was read of installed packages, those in ``packages`` in place of others of their names."""

    def __init__(self, packages: Iterable[Path]) -> None:
        super().__init__()
        self.roots: dict[str, Path | None] = {package.name: package for package in packages}
        self.folders: dict[Path, list[str]] = {}


class _Finder:
    def __init__(self, sources: Mapping[str, str], packages: Iterable[Path]) -> None:
        self._overlay = {_module_name(f): (f, t) for f, t in sources.items() if f.endswith(".py")}
        self._tops = {name.split(".")[0] for name in self._overlay}
        packages = tuple(packages)
        self._disk = kept(("packages", packages), lambda: _Disk(packages))
        self._mixed = _Read()  # of packages that the sources have modules of

    def _read(self, name: str) -> _Read:
        """Where things of the module ``name`` are found again."""
        return self._mixed if name.split(".")[0] in self._tops else self._disk

    def check(self, module: str, name: str | None) -> _Verdict | None:
        """None if the import resolves."""
        top = module.split(".")[0]
        found = self.find(module)
        if found is None:
            if self._root(top) is None and not self._known(top):
                return _Verdict(f"{top} is not installed here", soft=True)
            if self._through_attribute(module, name):
                return None
            return _Verdict(f"no module {module}", soft=False)
        if name is None or self.find(f"{module}.{name}") is not None:
            return None
        if top in _SUFFIXES and (other := self._other_name(top, name)) and self._binds(found, other) is None:
            return None  # asked first: to know that the name itself is nowhere, the whole package would be read
        return self._binds(found, name)

    def _other_name(self, top: str, name: str) -> str | None:
        """The name that the package itself falls back to for ``name``."""
        suffix, endings, rule, text = _SUFFIXES[top]
        module = self.find(rule)
        if name.endswith(endings) and module is not None and text in module.read():
            return name.removesuffix(suffix)
        return None

    def _known(self, top: str) -> bool:
        return any(n == top or n.startswith(f"{top}.") for n in self._overlay)

    def find(self, name: str) -> Module | None:
        modules = self._read(name).modules
        if name not in modules:
            modules[name] = self._find(name)
        return modules[name]

    def _find(self, name: str) -> Module | None:
        parent, _, last = name.rpartition(".")
        if name in self._overlay:
            file, text = self._overlay[name]
            above = self.find(parent) if parent and file.endswith("/__init__.py") else None
            return Module(name, text=text, folder=above.folder / last if above and above.folder else None)
        if not parent:
            root = self._root(name)
            if root is None:
                return None
            return self._in_folder(name, root) if root.is_dir() else Module(name, path=root)
        above = self.find(parent)
        return self._in_folder(name, above.folder / last) if above is not None and above.folder is not None else None

    def _root(self, top: str) -> Path | None:
        """The folder or file of an installed top-level package; found by its name alone, never imported."""
        if top in sys.stdlib_module_names and top not in self._disk.roots:
            folder = Path(sysconfig.get_path("stdlib"))  # frozen modules have a source there too
            package, single = folder / top, folder / f"{top}.py"
            self._disk.roots[top] = package if package.is_dir() else single if single.is_file() else _COMPILED
        elif top not in self._disk.roots:
            try:
                spec = importlib.util.find_spec(top) if top.isidentifier() else None
            except (ImportError, ValueError):
                spec = None
            where: Path | None = None
            if spec is not None and spec.submodule_search_locations:
                where = next((Path(p) for p in spec.submodule_search_locations if Path(p).is_dir()), None)
            elif spec is not None and spec.origin and Path(spec.origin).is_file():
                where = Path(spec.origin)
            self._disk.roots[top] = where
        return self._disk.roots[top]

    def _in_folder(self, name: str, base: Path) -> Module | None:
        """The module whose path without suffix is ``base``."""
        entries = self._listed(base.parent)
        if base.name in entries and base.is_dir():
            init = base / "__init__.py"
            return Module(name, path=init, folder=base) if init.is_file() else Module(name, text="", folder=base)
        if f"{base.name}.py" in entries and (source := base.parent / f"{base.name}.py").is_file():
            return Module(name, path=source)
        compiled = next((e for e in entries if e.startswith(f"{base.name}.") and e.endswith("so")), None)
        return Module(name, path=base.parent / compiled) if compiled else None

    def _listed(self, folder: Path) -> list[str]:
        """The names in ``folder``; most that are looked for are names of classes, for which there is no file."""
        if folder not in self._disk.folders:
            self._disk.folders[folder] = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
        return self._disk.folders[folder]

    def _through_attribute(self, module: str, name: str | None) -> bool:
        """``os.path``: the parent binds its last part to another module by an import."""
        parent, _, last = module.rpartition(".")
        above = self.find(parent) if parent else None
        if above is None or not above.is_source:
            return False
        target = self.names(above).imported.get(last)
        return target is not None and self.check(target, name) is None

    def _defines(self, module: Module, name: str) -> bool:
        """Whether a ``def``, ``class`` or assignment at the top level binds ``name``; parses nothing."""
        text = module.read()
        definitions = self._read(module.name).definitions
        if module.name not in definitions:
            for head in (f"\nclass {name}(", f"\nclass {name}:", f"\ndef {name}("):
                before = text[: max(text.find(head), 0)]
                if before and before.count('"""') % 2 == 0 and "'''" not in before:
                    return True  # not the line of a docstring: no need to tell all statements apart
            if not any(f"\n{word}{name}" in text for word in ("", "class ", "def ")):
                return False
            definitions[module.name] = Definitions(text)
        return name in definitions[module.name]

    def names(self, module: Module) -> Names:
        names = self._read(module.name).names
        if module.name not in names:
            names[module.name] = read_names(module)
        return names[module.name]

    def _binds(self, module: Module, name: str) -> _Verdict | None:
        if module.name.split(".")[0] in sys.stdlib_module_names and (
            module.name in sys.modules or not module.is_source  # Python's own: loaded, or compiled and safe to load
        ):
            there = hasattr(importlib.import_module(module.name), name)
            return None if there else _Verdict(f"{module.name} has no {name}", soft=False)
        if not module.is_source:
            return _Verdict(f"{module.name} is compiled", soft=True)
        if self._has(module, name, set()):
            return None
        names = self.names(module)
        if names.broken:
            return _Verdict(f"{module.name} cannot be parsed here", soft=True)
        if names.dynamic:
            return _Verdict(f"{module.name} makes names at run time", soft=True)
        return _Verdict(f"{module.name} has no {name}", soft=False)

    def _has(self, module: Module, name: str, seen: set[str]) -> bool:
        """Whether ``module`` binds ``name``, itself or by star imports; only files that hold the word are parsed."""
        seen.add(module.name)
        text = module.read() if module.is_source else ""
        if name in text:
            if self._defines(module, name):
                return True
            names = self.names(module)
            listed = name in names.strings if names.lazy else name in (names.exported or ())
            if name in names.bound or listed:
                return True
        wanted = name.replace("_", "").lower()
        stars = [absolute(module, found) for found in _STAR.findall(text)] if "import *" in text else []
        for star in sorted(stars, key=lambda s: not wanted.startswith(s.rpartition(".")[2].replace("_", ""))):
            target = self.find(star) if star not in seen else None
            if target is not None and self._has(target, name, seen):
                return True
        return False
