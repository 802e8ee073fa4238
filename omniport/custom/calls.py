"""Which functions of a custom repository call which, as far as names tell: never more than a reader would follow.

A plain name is resolved through imports; a method by its class, where the calling file knows it, or by its name where
one class alone has such a method.  What a name cannot tell is left out: the result is evidence, no proof.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field

from omniport.custom.code import ClassRef, CodeFile, CodeTree, nodes
from omniport.custom.facts import dotted
from omniport.records import dataclass

#: folders whose functions neither serve a request nor show how one is served
_TRAINING = frozenset(
    {
        "train", "training", "trainer", "trainers", "eval", "evals", "evaluation", "test", "tests", "callbacks", "data",
        "dataset", "datasets", "loss", "losses", "benchmark", "benchmarks",
    }
)  # fmt: skip
MODULE = "<module>"
_BUILT = ("__init__", "__call__")  # what runs where a class of the repository is built and used


@dataclass(frozen=True)
class Function:
    """A function, a method, or the statements of a script (``<module>``)."""

    file: CodeFile
    owner: str  # the class; empty for a function
    name: str
    body: tuple[ast.stmt, ...] = field(compare=False, hash=False, repr=False)
    node: ast.FunctionDef | None = field(compare=False, hash=False, repr=False)

    @property
    def title(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def line(self) -> int:
        return self.node.lineno if self.node is not None else self.body[0].lineno

    @functools.cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(node for statement in self.body for node in nodes(statement))

    @functools.cached_property
    def called(self) -> frozenset[str]:
        """Dotted names of what is called; ``().method`` on what a call returns."""
        return frozenset(name for n in self.nodes if isinstance(n, ast.Call) and (name := _name(n.func)))

    @property
    def parameters(self) -> tuple[tuple[ast.arg, bool], ...]:
        """Each parameter, and whether a caller must give it."""
        if self.node is None:
            return ()
        given = self.node.args
        plain = [*given.posonlyargs, *given.args]
        first = len(plain) - len(given.defaults)
        found = [(a, i < first) for i, a in enumerate(plain)]
        found += [(a, default is None) for a, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
        return tuple((a, needed) for a, needed in found if a.arg not in ("self", "cls"))


class Calls:
    """The call graph, by need."""

    def __init__(self, tree: CodeTree) -> None:
        self.tree = tree
        self.files = [f for f in tree.files if not _trains(f)]
        self._functions: dict[str, list[Function]] = {}

    def functions(self, file: CodeFile) -> list[Function]:
        if file.path not in self._functions:
            self._functions[file.path] = list(_functions(file))
        return self._functions[file.path]

    def named(self, file: str, title: str) -> Function | None:
        """The function ``title`` (``Class.method`` for a method) of the file at ``file``."""
        found = next((f for f in self.files if f.path == file), None)
        return next((f for f in self.functions(found) if f.title == title), None) if found is not None else None

    def callers(self, function: Function) -> Iterator[Function]:
        """Functions that name ``function`` in a call."""
        needle = function.owner if function.name == "__call__" else function.name
        for file in self.files:
            if needle not in file.text or (function.owner and not self._knows(file, function.owner)):
                continue
            for other in self.functions(file):
                if other != function and any(self._means(other, name, function) for name in other.called):
                    yield other

    def _knows(self, file: CodeFile, owner: str) -> bool:
        return owner in file.classes or owner in file.imports

    def _means(self, caller: Function, name: str, function: Function) -> bool:
        head, _, last = name.rpartition(".")
        if function.name == "__call__":
            return last == function.owner
        if last != function.name:
            return False
        if function.owner:
            return bool(head) and (head != "self" or caller.owner == function.owner)
        return self._function(caller.file, name) == function or (bool(head) and head in caller.file.imports)

    def callees(self, function: Function) -> Iterator[Function]:
        """Functions of the repository that ``function`` calls."""
        for name in sorted(function.called):
            head, _, last = name.rpartition(".")
            if head in ("self", "cls"):
                yield from self._method(ClassRef(function.file, function.owner), last) if function.owner else ()
            elif head:
                yield from self._alone(last)
            elif (found := self._function(function.file, name)) is not None:
                yield found
            elif (built := self.tree.resolve(function.file, name)) is not None:
                for method in _BUILT:
                    yield from self._method(built, method)

    def _function(self, file: CodeFile, name: str) -> Function | None:
        """The function that ``name`` means in ``file``, through imports."""
        seen = set()
        while file.path not in seen:
            seen.add(file.path)
            if name in file.functions:
                return self.named(file.path, name)
            module, attribute = file.imports.get(name, (None, None))
            target = self.tree.module(module, file) if module is not None and attribute is not None else None
            if target is None or attribute is None:
                return None
            file, name = target, attribute
        return None

    def _method(self, ref: ClassRef, name: str, depth: int = 0) -> Iterator[Function]:
        if ref.name not in ref.file.classes or depth > 4:
            return
        found = self.named(ref.file.path, f"{ref.name}.{name}")
        if found is not None:
            yield found
            return
        for base in ref.node.bases:
            inner = self.tree.resolve(ref.file, dotted(base)) if dotted(base) else None
            if inner is not None and inner != ref:
                yield from self._method(inner, name, depth + 1)

    def _alone(self, name: str) -> list[Function]:
        """The method of this name, if one class alone has it."""
        found = self._methods.get(name, [])
        return found if len(found) == 1 else []

    @functools.cached_property
    def _methods(self) -> dict[str, list[Function]]:
        found: dict[str, list[Function]] = {}
        for file in self.files:
            for function in self.functions(file):
                if function.owner:
                    found.setdefault(function.name, []).append(function)
        return found

    def around(self, function: Function, depth: int = 4, most: int = 40) -> list[Function]:
        """``function`` and what leads to it, nearest first."""
        return self._walk([function], self.callers, depth, most)

    def below(self, functions: list[Function], depth: int = 3, most: int = 200) -> list[Function]:
        """``functions`` and what they lead to."""
        return self._walk(functions, self.callees, depth, most)

    def _walk(
        self, start: list[Function], step: Callable[[Function], Iterator[Function]], depth: int, most: int
    ) -> list[Function]:
        found, level = list(start), list(start)
        for _ in range(depth):
            following: Iterable[Function] = (other for function in level for other in step(function))
            level = [f for f in dict.fromkeys(following) if f not in found]
            found += level
            if not level or len(found) > most:
                break
        return found[:most]


def _name(node: ast.expr) -> str:
    return dotted(node) or (f"().{node.attr}" if isinstance(node, ast.Attribute) else "")


def _trains(file: CodeFile) -> bool:
    stem = file.parts[-1]
    return any(p.lower() in _TRAINING for p in file.parts) or stem.startswith(("train", "test_", "eval_", "finetune"))


def _functions(file: CodeFile) -> Iterator[Function]:
    loose: list[ast.stmt] = []
    for node in file.statements:
        if isinstance(node, ast.FunctionDef):
            yield Function(file, "", node.name, tuple(node.body), node)
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield Function(file, node.name, member.name, tuple(member.body), member)
        elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Try):
            loose.append(node)
    if loose:
        yield Function(file, "", MODULE, tuple(loose), None)
