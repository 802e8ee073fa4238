"""What is checked: ports found below a path, each with its parsed files and the facts that cross them."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from omniport.check.finding import Finding
from omniport.check.source import SourceFile, class_attributes, last_name, method
from omniport.check.tree import Tree, shown, tree_of
from omniport.errors import OmniportError
from omniport.records import dataclass

#: class attributes that vLLM-Omni reads from the transformer itself; others also stand on language models inside it
TRANSFORMER_ATTRIBUTES = frozenset({"_hsdp_shard_conditions", "_repeated_blocks", "_sp_plan"})
#: pipeline attributes under which vLLM-Omni looks for transformers, besides those that ``_dit_modules`` names
TRANSFORMER_SLOTS = frozenset({"transformer", "transformer_2", "dit", "unet"})
ATTENTION = "vllm_omni.diffusion.attention.layer.Attention"
LINEARS = frozenset(
    {
        "ColumnParallelLinear",
        "MergedColumnParallelLinear",
        "QKVParallelLinear",
        "ReplicatedLinear",
        "RowParallelLinear",
    }
)
_SKIPPED = frozenset({"__pycache__", ".git", ".omniport", ".venv", "build", "dist", "node_modules", "tests"})


@dataclass(frozen=True)
class Port:
    """The files of one port and the facts that several rules ask for."""

    name: str
    files: tuple[SourceFile, ...]

    @functools.cached_property
    def tree(self) -> Tree | None:
        """The vLLM-Omni tree that the port stands in, if it does."""
        return tree_of(self.files[0].path) if self.files else None

    @property
    def registered(self) -> Collection[str] | None:
        """The names in the registry of the tree; None where the port stands in none."""
        return self.tree.registry.models if self.tree is not None and self.tree.registry is not None else None

    @functools.cached_property
    def classes(self) -> dict[str, tuple[SourceFile, ast.ClassDef]]:
        """Every class of the port by name; a name that two files define is left out, for it could be either."""
        found: dict[str, tuple[SourceFile, ast.ClassDef]] = {}
        twice: set[str] = set()
        for file in self.files:
            for name, node in file.classes.items():
                twice |= {name} & found.keys()
                found[name] = (file, node)
        return {name: value for name, value in found.items() if name not in twice}

    def find_class(self, name: str, seen_from: SourceFile) -> tuple[SourceFile, ast.ClassDef] | None:
        """The class that ``name`` means in a file: its own first, then the port's only one of that name."""
        if name in seen_from.classes:
            return seen_from, seen_from.classes[name]
        return self.classes.get(name)

    def bases(self, file: SourceFile, cls: ast.ClassDef) -> Iterator[tuple[SourceFile, ast.ClassDef]]:
        """The class itself, then its bases as far as the port defines them."""
        queue, seen = [(file, cls)], set()
        for where, node in queue:
            if node in seen:
                continue
            seen.add(node)
            yield where, node
            for base in node.bases:
                if (found := self.find_class(last_name(base), where)) is not None:
                    queue.append(found)

    @functools.cached_property
    def transformers(self) -> tuple[tuple[SourceFile, ast.ClassDef], ...]:
        """Classes that declare a transformer attribute, or that a pipeline puts in a transformer slot."""
        slots = {name for file in self.files for name in _dit_modules(file)} | TRANSFORMER_SLOTS
        slotted: set[str] = set()
        for file in self.files:
            for node in file.nodes(ast.Assign):
                if isinstance(node.value, ast.Call) and any(
                    isinstance(t, ast.Attribute) and t.attr in slots for t in node.targets
                ):
                    slotted.add(last_name(node.value.func))
        return tuple(
            (file, cls)
            for file in self.files
            for cls in file.nodes(ast.ClassDef)
            if cls.name in slotted or TRANSFORMER_ATTRIBUTES & class_attributes(cls).keys()
        )

    @functools.cached_property
    def repeated_blocks(self) -> tuple[tuple[SourceFile, ast.ClassDef], ...]:
        """The classes that ``_repeated_blocks`` of some transformer names."""
        found = []
        for file, cls in self.transformers:
            value = class_attributes(cls).get("_repeated_blocks")
            for element in value.elts if isinstance(value, ast.List | ast.Tuple) else ():
                if isinstance(element, ast.Constant) and isinstance(element.value, str):
                    found.append(self.find_class(element.value, file))
        return tuple(dict.fromkeys(place for place in found if place is not None))


def _dit_modules(file: SourceFile) -> Iterator[str]:
    """Names that ``_dit_modules`` lists; dotted ones are parts of another."""
    if file.mentions("_dit_modules"):
        for cls in file.nodes(ast.ClassDef):
            value = class_attributes(cls).get("_dit_modules")
            for element in value.elts if isinstance(value, ast.List | ast.Tuple) else ():
                if isinstance(element, ast.Constant) and isinstance(element.value, str) and "." not in element.value:
                    yield element.value


@functools.lru_cache(8)
def attention_names(file: SourceFile) -> tuple[str, ...]:
    """``Attention``, and the classes of a file that take after it and only change what its kernel is given.

    Not those that have arguments of their own, and not those that send some calls to another kernel.
    """
    names = ["Attention"] if file.imports.get("Attention") == ATTENTION else []
    for node in file.nodes(ast.ClassDef) if names else ():  # a class stands behind its bases
        own = method(node, "__init__") is not None or "sdpa_fallback" in file.lines_of(node)
        if not own and any(isinstance(base, ast.Name) and base.id in names for base in node.bases):
            names.append(node.name)
    return tuple(names)


def is_attention(file: SourceFile, call: ast.Call) -> bool:
    """Whether ``call`` constructs vLLM-Omni's own attention layer, or one of the file that takes after it."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    return file.imports.get(name) == ATTENTION or name in attention_names(file)


def find_ports(path: Path) -> Iterator[tuple[str, list[Path]]]:
    """The ports below ``path``: a file, the folder of a port, a plugin, a ``models`` folder or a whole tree.

    Yields (name, files).  In a tree the folders that its registry names count, or, where no registry can be read,
    those that hold a pipeline.

    Raises:
        OmniportError: there is no such path, or nothing below it is a port.
    """
    if path.is_file():
        if path.suffix != ".py":
            raise OmniportError(f"{path}: not a Python file; give a port's folder, a .py file or a vllm-omni tree")
        yield path.parent.name or path.stem, [path]
        return
    if not path.is_dir():
        raise OmniportError(f"{path}: no such file or folder")
    models = _models_folder(path)
    if models is not None:
        named = _registered(models)
        folders = [f for f in _subfolders(models) if (f.name in named if named else _has_pipeline(f))]
    elif any(_python(path)):
        folders = [path]
    else:
        folders = [f for f in _subfolders(path, depth=2) if _has_pipeline(f)]
    if not folders:
        raise OmniportError(
            f"{path}: no port here; give a port's folder, a plugin, or a tree with vllm_omni/diffusion/models"
        )
    for folder in folders:
        yield folder.name, sorted(_walk(folder))


def read_files(paths: list[Path]) -> dict[Path, bytes]:
    """The content of files.

    Raises:
        OmniportError: one cannot be read.
    """
    try:
        return {path: path.read_bytes() for path in paths}
    except OSError as error:
        raise OmniportError(f"{error.filename}: cannot be read: {error.strerror}") from None


def parse_port(name: str, contents: dict[Path, bytes]) -> tuple[Port, list[Finding]]:
    """Parse the files of a port; one that is no valid Python becomes a finding with code OP000."""
    files, findings = [], []
    for path, content in contents.items():
        displayed = shown(path)
        try:
            text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
            files.append(SourceFile(displayed, text))
        except SyntaxError as error:
            line, col = error.lineno or 1, error.offset or 1
            message = f"not valid Python: {error.msg}"
            findings.append(Finding("OP000", displayed.as_posix(), line, col, message, (error.text or "").strip()))
        except (ValueError, RecursionError, MemoryError) as error:  # not UTF-8, a null byte, nested beyond all measure
            message = f"not readable as Python: {error or type(error).__name__}"
            findings.append(Finding("OP000", displayed.as_posix(), 1, 1, message, ""))
    return Port(name, tuple(files)), findings


def _models_folder(path: Path) -> Path | None:
    """``vllm_omni/diffusion/models`` of a tree, from any folder on the way down to it."""
    for tail in ("vllm_omni/diffusion/models", "diffusion/models", "models"):
        if (path / tail).is_dir() and (tail != "models" or path.name == "diffusion"):
            return path / tail
    return path if path.name == "models" and path.parent.name == "diffusion" else None


def _registered(models: Path) -> set[str]:
    """Folders that the tree's registry names; empty if it has none, or none that can be read."""
    from omniport.target.registry import read_registry

    try:
        return {row.folder for row in read_registry(models.parent.parent).models.values()}
    except OmniportError:
        return set()


def _subfolders(path: Path, depth: int = 1) -> list[Path]:
    found = []
    for entry in sorted(p for p in path.iterdir() if p.is_dir() and p.name not in _SKIPPED):
        found += [entry, *(_subfolders(entry, depth - 1) if depth > 1 else [])]
    return found


def _python(folder: Path) -> Iterator[Path]:
    return (p for p in folder.glob("*.py") if p.name not in ("setup.py", "conftest.py"))


def _has_pipeline(folder: Path) -> bool:
    return any(p.name.startswith("pipeline") for p in _python(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in _SKIPPED]
        yield from (Path(base, name) for name in names if name.endswith(".py"))
