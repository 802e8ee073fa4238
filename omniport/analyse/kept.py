"""Objects that keep tensors from one call of a model to the next: ``cache.store(key, value)``, ``cache.get()``.

A plain class of the reference whose methods store their parameters and give them back. What an attention module gets of
such an object, a module like it has stored: a tensor with the same axes, of which a rank holds the same part.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import Any, Literal

from omniport.analyse.expressions import text
from omniport.analyse.shapes import Const, Seq
from omniport.records import dataclass
from omniport.source.nodes import each_node, methods

#: Parameters of a root's forward for keys and values that its caller keeps from one call to the next.
KEPT = frozenset({"kv_cache", "kv_caches"})


def kept_by_caller(forward: ast.FunctionDef) -> ast.arg | None:
    """The parameter of a root's forward that holds keys and values of other calls."""
    return next((arg for arg in (*forward.args.args, *forward.args.kwonlyargs) if arg.arg in KEPT), None)


@dataclass(frozen=True)
class Access:
    """What a method does: ``stores`` attribute -> parameter, or ``gives`` attributes, several as a tuple."""

    kind: Literal["stores", "gives"]
    attributes: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...] = ()


@functools.lru_cache(maxsize=500)
def access(cls: ast.ClassDef, name: str) -> Access | None:
    """What the method ``name`` of a plain class does with its attributes; None if it does anything else."""
    method = methods(cls).get(name)
    if method is None or cls.bases or method.args.kwonlyargs or method.args.vararg or method.args.kwarg:
        return None
    parameters = tuple(arg.arg for arg in method.args.args[1:])
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    stored: list[tuple[str, str]] = []
    for line in body:
        if isinstance(line, ast.If) and all(isinstance(inner, ast.Raise) for inner in line.body) and not line.orelse:
            continue
        if isinstance(line, ast.Return) and not stored and line is body[-1] and not parameters:
            values = line.value.elts if isinstance(line.value, ast.Tuple) else [line.value]
            given = [_own(value) for value in values]
            found = tuple((name, "") for name in given if name is not None)
            return Access("gives", found) if len(found) == len(values) else None
        own = _own(line.targets[0]) if isinstance(line, ast.Assign) and len(line.targets) == 1 else None
        value = line.value if isinstance(line, ast.Assign) else None
        if own is None or not isinstance(value, ast.Name) or value.id not in parameters:
            return None
        stored.append((own, value.id))
    return Access("stores", tuple(stored), parameters) if stored else None


def _own(node: ast.AST | None) -> str | None:
    """``x`` of ``self.x``."""
    own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if own else None  # type: ignore[union-attr]


@functools.lru_cache(maxsize=2000)
def annotated(function: ast.FunctionDef, name: str) -> list[str]:
    """The names in the annotation of a parameter, one in quotes as well."""
    for arg in (*function.args.args, *function.args.kwonlyargs):
        if arg.arg == name and arg.annotation is not None:
            words = [node.id for node in each_node(arg.annotation) if isinstance(node, ast.Name)]
            quoted = [n.value for n in each_node(arg.annotation) if isinstance(n, ast.Constant)]
            return [*words, *(part.strip() for word in quoted if isinstance(word, str) for part in word.split("|"))]
    return []


class Kept:
    """What modules of each class have stored so far, by class and attribute of the object."""

    def __init__(self, join: Callable[[Any, Any], Any]) -> None:
        self.join = join
        self.values: dict[tuple[str, str, str], Any] = {}

    def call(self, owner: str, cls: ast.ClassDef, node: ast.Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a call of a method gives to a module of the class ``owner``; None if that is not known."""
        found = access(cls, text(node.func).rpartition(".")[2])
        if found is None:
            return None
        keys = [(owner, cls.name, attribute) for attribute, _ in found.attributes]
        if found.kind == "gives":
            values = [self.values.get(key) for key in keys]
            if any(value is None for value in values):
                return None
            return values[0] if len(values) == 1 else Seq(values)
        given = {**dict(zip(found.parameters, args, strict=False)), **kwargs}
        if given.keys() != set(found.parameters):
            return None
        for key, (_, parameter) in zip(keys, found.attributes, strict=True):
            value = given[parameter]
            self.values[key] = self.join(self.values[key], value) if key in self.values else value
        return Const(None)
