"""A Python package on disk, read as text: find classes, resolve imports, never import or run anything."""

from __future__ import annotations

import ast as python
import functools
import importlib.util
import re
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from omniport.errors import OmniportError
from omniport.records import dataclass
from omniport.source.outline import Outline, outline
from omniport.source.reading import parse, parse_cst, read_source
from omniport.source.toplevel import Definitions, import_statements

if TYPE_CHECKING:
    import libcst

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class SourceModule:
    """One module: its dotted name, its file (absolute and relative to the package's parent), its text."""

    name: str
    path: Path
    file: str
    text: str = field(repr=False)
    is_package: bool = False
    _outlines: dict[str, Outline] = field(default_factory=dict, init=False, repr=False, compare=False)

    @functools.cached_property
    def ast(self) -> python.Module:
        """The parsed module; raises OmniportError if it is not valid Python."""
        return parse(self.text, self.file)

    @functools.cached_property
    def cst(self) -> libcst.Module:
        return parse_cst(self.text, self.file)

    def absolute(self, node: python.ImportFrom) -> str:
        """The absolute dotted name of the module that a ``from`` import in this module names."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        drop = node.level - (1 if self.is_package else 0)
        base = parts[: len(parts) - drop] if drop else parts
        return ".".join([*base, *([node.module] if node.module else [])])

    @functools.cached_property
    def imports(self) -> dict[str, tuple[str, str | None]]:
        """Local name -> (module, attribute); attribute is None for ``import module``.  Nested imports count too."""
        found: dict[str, tuple[str, str | None]] = {}
        for node in import_statements(self.text):
            for alias in node.names:
                if isinstance(node, python.ImportFrom):
                    found[alias.asname or alias.name] = (self.absolute(node), alias.name)
                else:
                    module = alias.name if alias.asname else alias.name.split(".")[0]
                    found[alias.asname or module] = (module, None)
        return found

    @functools.cached_property
    def definitions(self) -> Definitions:
        """Module-level names -> the statement that defines them (the last one, as at run time)."""
        return Definitions(self.text, self.file)

    def outline(self, name: str) -> Outline:
        """The bases and members of the class ``name``, its methods unparsed; raises OmniportError if there is none."""
        if name not in self._outlines:
            if not self.definitions.is_class(name):
                raise OmniportError(f"{self.file} defines no class {name}")
            self._outlines[name] = outline(self.definitions, name)
        return self._outlines[name]

    def class_def(self, name: str) -> python.ClassDef:
        """The class ``name`` of this module; raises OmniportError if it defines none."""
        node = self.definitions.get(name)
        if not isinstance(node, python.ClassDef):
            raise OmniportError(f"{self.file} defines no class {name}")
        return node


@dataclass
class SourceTree:
    """A package folder such as ``.../diffusers`` with the version it declares.

    ``root`` is the package folder itself; module names start with its name.
    """

    root: Path
    version: str
    #: whether the models are called in ways that the package calls deprecated, too
    old_calls: bool = field(default=False, kw_only=True)
    #: whether it holds the callers of its models, so that an argument without default is known to be given
    callers: bool = field(default=True, kw_only=True)
    _modules: dict[str, SourceModule | None] = field(default_factory=dict, repr=False)

    @property
    def package(self) -> str:
        return self.root.name

    @classmethod
    def locate(cls, source: Path | None = None, package: str = "diffusers") -> SourceTree:
        """The package in ``source`` (a checkout, its ``src`` folder or the package itself), or the installed one.

        Raises:
            OmniportError: there is none; the message says where it was looked for.
        """
        if source is None:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise OmniportError(f"{package} is not installed; install it or give its sources with --source DIR")
            folder = Path(spec.submodule_search_locations[0])
            return cls(folder, _version(folder) or _recorded_version(package))
        if not source.is_dir():
            raise OmniportError(f"--source {source}: no such folder")
        for folder in (source / "src" / package, source / package, source):
            if folder.name == package and (folder / "__init__.py").is_file():
                return cls(folder, _version(folder) or "unknown")
        raise OmniportError(f"{source}: no package {package} here (looked for {package}/__init__.py and src/{package})")

    def module(self, name: str) -> SourceModule | None:
        """The module ``name``; None if it is outside this package or does not exist."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> SourceModule | None:
        parts = name.split(".")
        if parts[0] != self.package or not all(_IDENTIFIER.match(p) for p in parts):
            return None
        base = self.root.joinpath(*parts[1:])
        for path, is_package in ((base.with_suffix(".py"), False), (base / "__init__.py", True)):
            if len(parts) == 1 and not is_package:
                continue
            if path.is_file():
                file = path.relative_to(self.root.parent).as_posix()
                return SourceModule(name, path, file, read_source(path, file), is_package)
        return None

    def resolve(self, module: str, name: str) -> tuple[SourceModule, str] | None:
        """Follow imports of ``name`` from ``module`` to the module that defines it; None if it leaves the package."""
        seen: set[tuple[str, str]] = set()
        while (module, name) not in seen:
            seen.add((module, name))
            source = self.module(module)
            if source is None:
                return None
            if name in source.definitions:
                return source, name
            target, attribute = source.imports.get(name, (None, None))
            if target is None or attribute is None:
                return None
            if self.module(f"{target}.{attribute}") is not None and attribute != name:
                return None
            module, name = target, attribute
        return None

    def exported_class(self, name: str, under: str) -> SourceModule:
        """The module below ``under`` from which the package exports class ``name``; else as :meth:`find_class`."""
        found = self.resolve(self.package, name)
        if found is not None and found[1] == name and found[0].name.startswith(f"{self.package}.{under}."):
            return found[0]
        return self.find_class(name, under)

    def find_class(self, name: str, under: str = "") -> SourceModule:
        """The module below ``under`` (such as ``pipelines``) that defines class ``name``.

        Raises:
            OmniportError: no module defines it, or several do.
        """
        if not _IDENTIFIER.match(name):
            raise OmniportError(f"{name!r} is no class name")
        pattern = re.compile(rf"^class {name}\b", re.M)
        found = []
        for path in sorted((self.root / under).rglob("*.py")):
            text = path.read_text("utf-8", errors="replace")
            if f"class {name}" in text and pattern.search(text):
                parts = path.relative_to(self.root.parent).with_suffix("").parts
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        if len(found) != 1:
            what = "defines no class" if not found else f"defines more than one class ({', '.join(found)})"
            raise OmniportError(f"{self.package} {self.version} {what} {name}")
        module = self.module(found[0])
        assert module is not None
        return module


def _version(package: Path) -> str | None:
    """What a package says that its version is."""
    file = package / "__init__.py"
    found = re.search(r'^__version__\s*=\s*"([^"]+)"', read_source(file, file.name), re.M) if file.is_file() else None
    return found.group(1) if found else None


def _recorded_version(package: str) -> str:
    """What its installer recorded; the library that reads it takes as long to import as this room."""
    from importlib import metadata

    return metadata.version(package)
