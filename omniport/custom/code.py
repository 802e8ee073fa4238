"""The Python files of a custom model repository, read as hostile text: never imported, never run.

Files are parsed from bytes (a byte order mark and PEP 263 encodings are legal there), symbolic links are not followed,
and what does not parse becomes a note.  Folders of training, evaluation and data hold no architecture, but may hold the
only loader or denoising loop, so that they are read and told apart (:attr:`CodeFile.side`).
"""

from __future__ import annotations

import ast
import functools
import io
import os
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path, PurePosixPath

from omniport.errors import OmniportError
from omniport.plan.model import Why
from omniport.records import dataclass
from omniport.source.reading import check_nesting

FILE_LIMIT = 2 << 20  # bytes of one file
FILES_LIMIT = 20_000
_SKIPPED = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})
#: folders and file stems whose classes are no part of the served model
_SIDE = frozenset(
    {
        "train", "training", "trainer", "trainers", "eval", "evaluation", "evals", "benchmark", "benchmarks", "data",
        "dataset", "datasets", "test", "tests", "demo", "demos", "example", "examples", "scripts", "tools", "callbacks",
        "losses", "loss", "runtime",
    }
)  # fmt: skip


def nodes(root: ast.AST) -> tuple[ast.AST, ...]:
    """What ``ast.walk`` gives, kept with the node: every signal reads the whole repository, and nothing changes it."""
    found: tuple[ast.AST, ...] | None = getattr(root, "walked", None)
    if found is None:
        found = root.walked = tuple(ast.walk(root))  # type: ignore[attr-defined]
    return found


@dataclass(frozen=True)
class CodeFile:
    """One parsed file; ``path`` is relative to the repository, with slashes."""

    path: str
    tree: ast.Module = field(repr=False, compare=False, hash=False)
    text: str = field(repr=False, compare=False, hash=False)

    @functools.cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).with_suffix("").parts

    @functools.cached_property
    def side(self) -> bool:
        """Whether the file belongs to training, evaluation or a demonstration."""
        stem = self.parts[-1]
        return any(p.lower() in _SIDE for p in self.parts) or stem.startswith(("train", "test_", "eval_", "gradio"))

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.statements if isinstance(node, ast.ClassDef)}

    @functools.cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in self.statements if isinstance(node, ast.FunctionDef)}

    @functools.cached_property
    def statements(self) -> tuple[ast.stmt, ...]:
        """Statements of the module, those under a module-level ``if`` or ``try`` included."""
        return tuple(_flat(self.tree.body))

    @functools.cached_property
    def imports(self) -> dict[str, tuple[str, str | None]]:
        """Local name -> (dotted module, attribute), nested imports included; relative ones resolved to paths."""
        found: dict[str, tuple[str, str | None]] = {}
        for node in nodes(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    module = alias.name if alias.asname else alias.name.split(".")[0]
                    found[alias.asname or module] = (module, None)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = (self.absolute(node), alias.name)
        return found

    def absolute(self, node: ast.ImportFrom) -> str:
        """The dotted module of a ``from`` import, relative to the repository where it has dots."""
        if not node.level:
            return node.module or ""
        package = self.parts[:-1]
        base = package[: len(package) - (node.level - 1)] if node.level > 1 else package
        return ".".join([*base, *([node.module] if node.module else [])])

    def why(self, reason: str, node: ast.AST | None = None) -> Why:
        return Why(reason, self.path, getattr(node, "lineno", 0))


@dataclass(frozen=True)
class ClassRef:
    """A class of the repository, by its file and name."""

    file: CodeFile
    name: str

    @property
    def node(self) -> ast.ClassDef:
        return self.file.classes[self.name]

    def __str__(self) -> str:
        return f"{self.file.path}:{self.name}"


@dataclass(frozen=True)
class CodeTree:
    """All files of a repository, with what could not be read."""

    root: Path
    files: tuple[CodeFile, ...]
    notes: tuple[Why, ...]
    others: tuple[str, ...]  # files that are no Python: configurations, requirements, licences, weights

    @functools.cached_property
    def by_module(self) -> dict[str, list[CodeFile]]:
        """Every dotted tail of a file's path -> the files it may mean."""
        found: dict[str, list[CodeFile]] = {}
        for file in self.files:
            parts = file.parts[:-1] if file.parts[-1] == "__init__" else file.parts
            for start in range(len(parts)):
                found.setdefault(".".join(parts[start:]), []).append(file)
        return found

    @functools.cached_property
    def top_level(self) -> frozenset[str]:
        """First names of imports that the repository itself answers."""
        return frozenset(name.split(".")[0] for name in self.by_module)

    def module(self, dotted: str, near: CodeFile) -> CodeFile | None:
        """The file of a module: of several, the one that shares most folders with ``near``."""
        found = self.by_module.get(dotted, [])
        return max(found, key=lambda f: (_shared(f.parts, near.parts), -len(f.parts)), default=None)

    def resolve(self, file: CodeFile, name: str) -> ClassRef | None:
        """The class that ``name`` means in ``file``, through imports; None if it comes from elsewhere."""
        seen: set[tuple[str, str]] = set()
        while (file.path, name) not in seen:
            seen.add((file.path, name))
            if name in file.classes:
                return ClassRef(file, name)
            module, attribute = file.imports.get(name, (None, None))
            if module is None:
                return self._starred(file, name)
            target = self.module(module, file) if attribute is not None else None
            if target is None or attribute is None:
                return None
            file, name = target, attribute
        return None

    def _starred(self, file: CodeFile, name: str) -> ClassRef | None:
        for node in file.statements:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                target = self.module(file.absolute(node), file)
                if target is not None and name in target.classes:
                    return ClassRef(target, name)
        return None

    def classes(self) -> Iterator[ClassRef]:
        """Every class outside of training, evaluation and demonstrations."""
        for file in self.files:
            if not file.side:
                yield from (ClassRef(file, name) for name in file.classes)


def _shared(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _flat(node.body)
            yield from _flat(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _flat(node.body)
            for handler in node.handlers:
                yield from _flat(handler.body)


def read_code(root: Path) -> CodeTree:
    """Read the repository at ``root``.

    Raises:
        OmniportError: there is no such folder, it holds no Python file, or more than 20,000 files.
    """
    if not root.is_dir():
        raise OmniportError(f"{root}: no folder; --source takes the model's own code")
    files: list[CodeFile] = []
    notes: list[Why] = []
    others: list[str] = []
    count = 0
    for folder, folders, names in os.walk(root):
        kept = (d for d in folders if d not in _SKIPPED and not d.startswith(".") and not d.endswith(".egg-info"))
        folders[:] = sorted(d for d in kept if not (Path(folder) / d).is_symlink())
        for name in sorted(names):
            count += 1
            if count > FILES_LIMIT:
                raise OmniportError(f"{root}: more than {FILES_LIMIT} files; give the folder of the model's own code")
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                notes.append(Why("a symbolic link, which is not followed", relative))
            elif not path.is_file():
                notes.append(Why("no regular file", relative))  # a pipe would be waited for
            elif not name.endswith(".py"):
                others.append(relative)
            else:
                parsed = _parse(path, relative)
                if isinstance(parsed, Why):
                    notes.append(parsed)
                else:
                    files.append(parsed)
    if not files:
        raise OmniportError(f"{root}: no Python file that can be read; --source takes the model's own code")
    return CodeTree(root, tuple(files), tuple(notes), tuple(others))


def _parse(path: Path, relative: str) -> CodeFile | Why:
    try:
        if path.stat().st_size > FILE_LIMIT:
            return Why(f"larger than {FILE_LIMIT} bytes, which is not read", relative)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = path.read_bytes()
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            tree = ast.parse(data)
            check_nesting(tree, relative)
            return CodeFile(relative, tree, data.decode(encoding))
    except OmniportError as error:
        return Why(str(error), relative)
    except SyntaxError as error:
        return Why(f"not valid Python: {error.msg}", relative, error.lineno or 0)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return Why(f"cannot be read: {type(error).__name__}", relative)
