"""Values that a constructor's text has: modules under construction, tensors by shape, names of other packages."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

from omniport.custom.constructor.layers import UNKNOWN, Unknown, Unread
from omniport.custom.remap import Shape
from omniport.records import dataclass

LONG = 4096  # items of a list, and bits of a number
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip


@dataclass(eq=False)
class Module:
    """A module under construction; ``cls`` is empty for torch's own."""

    cls: str
    own: dict[str, Shape] = field(default_factory=dict)  # parameters and buffers
    attributes: dict[str, Any] = field(default_factory=dict)
    children: dict[str, Module] = field(default_factory=dict)

    def tensors(self) -> Iterator[tuple[str, Shape, Module, str]]:
        """Names in the order of the state dict, with the owner and the name there."""
        for name, shape in self.own.items():
            yield name, shape, self, name
        for key, child in self.children.items():
            for name, shape, owner, leaf in child.tensors():
                yield f"{key}.{name}", shape, owner, leaf


@dataclass(frozen=True)
class Tensor:
    shape: Shape | None
    parameter: bool = False


@dataclass(frozen=True)
class Class:
    name: str


@dataclass(frozen=True)
class Foreign:
    """A name of another package, or something of it."""

    path: str


@dataclass(frozen=True)
class Method:
    owner: Module
    name: str
    cls: str  # the class whose method it is


@dataclass(frozen=True)
class Super:
    owner: Module
    cls: str


class Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class OfDict:
    """A method of a dictionary."""

    def __init__(self, held: dict[Any, Any], name: str) -> None:
        self.held, self.name = held, name

    def call(self, args: list[Any]) -> Any:
        if self.name in ("get", "pop"):
            return self.held.get(args[0], args[1] if len(args) > 1 else None)
        return list(getattr(self.held, self.name)())


def no_shape(name: str) -> Shape:
    raise Unread(f"the shape of {name} is not shown")


def makes_modules(node: ast.FunctionDef) -> bool:
    """Whether a function may make a module: it calls something that is written like a class."""
    calls = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
    names = [f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls]
    return any(name[:1].isupper() for name in names)


def bound(
    node: ast.FunctionDef, args: list[Any], keywords: dict[str, Any], default: Callable[[ast.expr], Any], strict: bool
) -> dict[str, Any]:
    spec = node.args
    names = [a.arg for a in (*spec.posonlyargs, *spec.args)]
    scope: dict[str, Any] = dict(zip(names, args, strict=False))
    if len(args) > len(names) and spec.vararg is None:
        raise Unread(f"too many arguments of {node.name}")
    if spec.vararg is not None:
        scope[spec.vararg.arg] = tuple(args[len(names) :])
    known = {*names, *(a.arg for a in spec.kwonlyargs)}
    scope |= {k: v for k, v in keywords.items() if k in known}
    strange = {k: v for k, v in keywords.items() if k not in known}
    if spec.kwarg is not None:
        scope[spec.kwarg.arg] = strange
    defaults = dict(zip(names[len(names) - len(spec.defaults) :], spec.defaults, strict=True))
    defaults |= {a.arg: d for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None}
    for name in sorted(known - scope.keys()):
        if name in defaults:
            scope[name] = default(defaults[name])
        elif strict:
            raise Unread(f"{node.name} is called without {name}")
        else:
            scope[name] = UNKNOWN
    return scope


def binary(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        tensor, other = (left, right) if isinstance(left, Tensor) else (right, left)
        return Tensor(tensor.shape if isinstance(other, int | float | Unknown) else None)
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    texts = isinstance(op, ast.Add) and type(left) is type(right) and isinstance(left, str | list | tuple)
    repeat = isinstance(op, ast.Mult) and isinstance(left, list | tuple) and isinstance(right, int)
    if type(op) not in BINARY or not (numbers or texts or repeat):
        return UNKNOWN
    if (repeat and len(left) * right > LONG) or (isinstance(op, ast.Pow) and (abs(left) > LONG or abs(right) > 64)):
        raise Unread("a value that grows too large")
    return BINARY[type(op)](left, right)


def compared(node: ast.Compare, values: list[Any]) -> Any:
    for op, left, right in zip(node.ops, values, values[1:], strict=False):
        absent = isinstance(op, ast.Is | ast.IsNot) and right is None and isinstance(left, Module | Tensor | Class)
        if absent:
            return isinstance(op, ast.IsNot)
        if any(isinstance(v, Unknown | Foreign | Tensor) for v in (left, right)):
            return UNKNOWN
        if not COMPARE[type(op)](left, right):
            return False
    return True


def truth(value: Any) -> bool:
    return True if isinstance(value, Module | Class | Foreign) else bool(value)


def either(one: Any, other: Any, test: str) -> Any:
    if any(isinstance(v, Module | Class | Tensor) for v in (one, other)):
        raise Unread(f"whether {test[:60]} is not shown")
    return UNKNOWN


def items(value: Any) -> list[Any]:
    if isinstance(value, Module):
        return list(value.children.values())
    if isinstance(value, dict | list | tuple | str | set):
        return list(value)
    raise Unread("a list that the source does not show")


def item(held: Any, index: ast.expr, of: Callable[[ast.expr], Any]) -> Any:
    if isinstance(index, ast.Slice):
        bounds = [None if b is None else of(b) for b in (index.lower, index.upper, index.step)]
        if isinstance(held, list | tuple | str) and not any(isinstance(b, Unknown) for b in bounds):
            return held[slice(*bounds)]
        return UNKNOWN
    key = of(index)
    if isinstance(held, Module) and isinstance(key, int):
        return list(held.children.values())[key]
    if isinstance(held, Module) and isinstance(key, str) and key in held.children:
        return held.children[key]
    if isinstance(held, dict | list | tuple) and not isinstance(key, Unknown):
        return held[key]
    return UNKNOWN
