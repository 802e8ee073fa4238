"""Statements of a constructor's text."""

from __future__ import annotations

import ast
from typing import Any

from omniport.custom.constructor.calls import Calls
from omniport.custom.constructor.layers import UNKNOWN, Unknown, Unread
from omniport.custom.constructor.values import (
    Foreign,
    Module,
    Return,
    Tensor,
    binary,
    items,
    no_shape,
    truth,
)


class Reader(Calls):
    """Follows statements."""

    def run(self, body: list[ast.stmt], scope: dict[str, Any], owner: Module | None, cls: str) -> None:
        for node in body:
            self.count(node)
            if isinstance(node, ast.Assign):
                value = self.value(node.value, scope, owner, cls)
                for target in node.targets:
                    self.assign(target, value, scope, owner, cls)
            elif isinstance(node, ast.AnnAssign):
                if node.value is not None:
                    self.assign(node.target, self.value(node.value, scope, owner, cls), scope, owner, cls)
            elif isinstance(node, ast.AugAssign):
                load = ast.parse(ast.unparse(node.target), mode="eval").body
                value = binary(node.op, self.value(load, scope, owner, cls), self.value(node.value, scope, owner, cls))
                self.assign(node.target, value, scope, owner, cls)
            elif isinstance(node, ast.Expr):
                self.value(node.value, scope, owner, cls)
            elif isinstance(node, ast.If):
                self._branch(node, scope, owner, cls)
            elif isinstance(node, ast.For):
                for item in items(self.value(node.iter, scope, owner, cls)):
                    self.assign(node.target, item, scope, owner, cls)
                    self.run(node.body, scope, owner, cls)
            elif isinstance(node, ast.With):
                self.run(node.body, scope, owner, cls)
            elif isinstance(node, ast.Return):
                raise Return(None if node.value is None else self.value(node.value, scope, owner, cls))
            elif isinstance(node, ast.FunctionDef):
                scope[node.name] = UNKNOWN
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    scope[(alias.asname or alias.name).split(".")[0]] = UNKNOWN
            elif isinstance(node, ast.Raise):
                raise Unread(f"the constructor raises: {ast.unparse(node)[:80]}")
            elif not isinstance(node, ast.Pass | ast.Assert):
                raise Unread(f"a statement that is not followed: {ast.unparse(node)[:60]}")

    def _branch(self, node: ast.If, scope: dict[str, Any], owner: Module | None, cls: str) -> None:
        test = self.value(node.test, scope, owner, cls)
        if not isinstance(test, Unknown):
            self.run(node.body if truth(test) else node.orelse, scope, owner, cls)
            return
        if not any(_acts(n) for s in (*node.body, *node.orelse) for n in ast.walk(s)):
            return  # it only raises or asserts
        raise Unread(f"whether {ast.unparse(node.test)[:60]} is not shown")

    def assign(self, target: ast.expr, value: Any, scope: dict[str, Any], owner: Module | None, cls: str) -> None:
        if isinstance(target, ast.Name):
            scope[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            values = items(value) if not isinstance(value, Unknown) else [UNKNOWN] * len(target.elts)
            if len(values) != len(target.elts):
                raise Unread("values to unpack")
            for one, item in zip(target.elts, values, strict=True):
                self.assign(one, item, scope, owner, cls)
        elif isinstance(target, ast.Attribute):
            self.set(self.value(target.value, scope, owner, cls), target.attr, value, target)
        elif isinstance(target, ast.Subscript):
            held = self.value(target.value, scope, owner, cls)
            key = self.value(target.slice, scope, owner, cls)
            if isinstance(held, Module) and not isinstance(key, Unknown):
                self.set(held, str(key), value, target)
            elif isinstance(held, dict) and not isinstance(key, Unknown):
                held[key] = value
            elif not isinstance(held, Unknown | Tensor):
                raise Unread(f"an assignment to {ast.unparse(target)[:60]}")
        else:
            raise Unread(f"an assignment to {ast.unparse(target)[:60]}")

    def set(self, held: Any, name: str, value: Any, target: ast.expr) -> None:
        if isinstance(held, Unknown | dict | Tensor | Foreign):
            if isinstance(held, dict):
                held[name] = value
            return
        if not isinstance(held, Module):
            raise Unread(f"an assignment to {ast.unparse(target)[:60]}")
        for place in (held.own, held.children, held.attributes):
            place.pop(name, None)
        self.tied.pop((id(held), name), None)
        if isinstance(value, Module):
            held.children[name] = value
        elif isinstance(value, tuple) and len(value) == 3 and value[0] == "parameter of":
            held.own[name] = value[1].own[value[2]]
            self.tied[(id(held), name)] = (value[1], value[2])
        elif isinstance(value, Tensor) and value.parameter:
            held.own[name] = value.shape if value.shape is not None else no_shape(name)
        elif isinstance(value, Foreign) and value.path.endswith("()"):
            raise Unread(f"{ast.unparse(target)[:60]} is made by {value.path}")
        else:
            held.attributes[name] = value


def _acts(node: ast.AST) -> bool:
    """Whether a statement within a branch binds, returns or calls something."""
    stored = isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store)
    return stored or isinstance(node, ast.Return | ast.Expr)
