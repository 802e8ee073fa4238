"""Expressions of a constructor's text: what each is, as far as the text shows it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from omniport.custom.constructor.layers import UNKNOWN, Unknown, Unread
from omniport.custom.constructor.source import Source
from omniport.custom.constructor.values import (
    Class,
    Foreign,
    Method,
    Module,
    OfDict,
    Super,
    Tensor,
    binary,
    compared,
    either,
    item,
    items,
    truth,
)

PLAIN: dict[str, Callable[..., Any]] = {
    "int": int, "float": float, "str": str, "bool": bool, "len": len, "max": max, "min": min, "sum": sum, "abs": abs,
    "tuple": tuple, "list": list, "dict": dict, "zip": zip, "enumerate": enumerate, "reversed": reversed,
    "sorted": sorted, "round": round, "set": set,
}  # fmt: skip


class Expressions(Source):
    """Reads expressions."""

    def value(self, node: ast.expr, scope: dict[str, Any], owner: Module | None, cls: str) -> Any:
        self.count(node)

        def of(inner: ast.expr) -> Any:
            return self.value(inner, scope, owner, cls)

        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._name(node.id, scope)
        if isinstance(node, ast.Attribute):
            return self._attribute(of(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self.called(node, scope, owner, cls)
        if isinstance(node, ast.BinOp):
            return binary(node.op, of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp):
            inner = of(node.operand)
            if isinstance(inner, Unknown | Tensor):
                return inner
            if isinstance(node.op, ast.Not):
                return not truth(inner)
            return -inner if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BoolOp):
            return self._bool(node, of)
        if isinstance(node, ast.Compare):
            return compared(node, [of(v) for v in (node.left, *node.comparators)])
        if isinstance(node, ast.IfExp):
            test = of(node.test)
            if isinstance(test, Unknown):
                return either(of(node.body), of(node.orelse), ast.unparse(node.test))
            return of(node.body if truth(test) else node.orelse)
        if isinstance(node, ast.List | ast.Tuple):
            return self._sequence(node, of)
        if isinstance(node, ast.Dict):
            if any(k is None for k in node.keys):
                return UNKNOWN
            return {of(k): of(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return list(self._comprehended(node, scope, owner, cls))
        if isinstance(node, ast.Subscript):
            return item(of(node.value), node.slice, of)
        if isinstance(node, ast.JoinedStr):
            return self._text(node, of)
        return UNKNOWN

    def _name(self, name: str, scope: dict[str, Any]) -> Any:
        if name in scope:
            return scope[name]
        if name in self.classes:
            return Class(name)
        if name in self.functions:
            return self.functions[name]
        if name in self.values and name not in self.modified:
            return self.value(self.values[name], {}, None, "")
        if name in self.foreign:
            return Foreign(self.foreign[name])
        return PLAIN.get(
            name, Foreign(name) if name in ("range", "super", "getattr", "isinstance", "hasattr") else UNKNOWN
        )

    def _attribute(self, held: Any, name: str) -> Any:
        if isinstance(held, Foreign):
            return Foreign(f"{held.path}.{name}")
        if isinstance(held, Module):
            if name in held.children:
                return held.children[name]
            if name in held.own:
                return ("parameter of", held, name)
            if name in held.attributes:
                return held.attributes[name]
            found = self.method(held.cls, name) if held.cls else None
            if found is not None:
                return Method(held, name, found[0])
            return (
                Method(held, name, "") if held.cls or name in ("append", "extend", "parameters", "apply") else UNKNOWN
            )
        if isinstance(held, Super):
            return Method(held.owner, name, f"<{held.cls}")
        if isinstance(held, dict):
            return held.get(name, OfDict(held, name) if name in ("get", "items", "keys", "values", "pop") else UNKNOWN)
        if isinstance(held, list) and name in ("append", "extend"):
            return getattr(held, name)
        return UNKNOWN

    def _bool(self, node: ast.BoolOp, of: Callable[[ast.expr], Any]) -> Any:
        stops = isinstance(node.op, ast.Or)
        value: Any = None
        for inner in node.values:
            value = of(inner)
            if isinstance(value, Unknown):
                return UNKNOWN
            if truth(value) == stops:
                return value
        return value

    def _sequence(self, node: ast.List | ast.Tuple, of: Callable[[ast.expr], Any]) -> Any:
        found: list[Any] = []
        for inner in node.elts:
            if isinstance(inner, ast.Starred):
                value = of(inner.value)
                if isinstance(value, Unknown):
                    return UNKNOWN
                found += items(value)
            else:
                found.append(of(inner))
        return found if isinstance(node, ast.List) else tuple(found)

    def _comprehended(
        self, node: ast.ListComp | ast.GeneratorExp, scope: dict[str, Any], owner: Module | None, cls: str
    ) -> Iterator[Any]:
        def walk(number: int, inner: dict[str, Any]) -> Iterator[Any]:
            if number == len(node.generators):
                yield self.value(node.elt, inner, owner, cls)
                return
            part = node.generators[number]
            for one in items(self.value(part.iter, inner, owner, cls)):
                self.assign(part.target, one, inner, owner, cls)
                tests = [self.value(test, inner, owner, cls) for test in part.ifs]
                if any(isinstance(test, Unknown) for test in tests):
                    raise Unread("a condition of a list that is not shown")
                if all(truth(test) for test in tests):
                    yield from walk(number + 1, inner)

        yield from walk(0, dict(scope))

    def _text(self, node: ast.JoinedStr, of: Callable[[ast.expr], Any]) -> Any:
        shown = [v for v in node.values if isinstance(v, ast.Constant | ast.FormattedValue)]
        parts = [v.value if isinstance(v, ast.Constant) else of(v.value) for v in shown]
        return "".join(map(str, parts)) if not any(isinstance(p, Unknown) for p in parts) else UNKNOWN
