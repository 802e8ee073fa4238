"""Dicts whose keys are written out: arguments that a block collects and passes on by ``**``.

And dicts of modules, one for each form of the input: the key that picks one is known when the model runs.
"""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse.expressions import Env, text
from omniport.analyse.sequence.liveness import LiveNames
from omniport.analyse.shapes import Const, Either, Fields, Instance, Leaf, Modules


class DictRules(LiveNames):
    """Follows such dicts entry by entry."""

    def eval_dict(self, node: ast.Dict, env: Env) -> Any:
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            return super().eval_dict(node, env)
        values = [self.eval(value, env) for value in node.values]
        return Fields({str(key): value for key, value in zip(keys, values, strict=True)})

    def eval_subscript(self, node: ast.Subscript, env: Env) -> Any:
        key = getattr(node.slice, "value", None)
        if isinstance(key, str) and isinstance(owner := self.eval(node.value, env), Fields):
            if key not in owner.items:
                raise self.unsupported(f"subscript {text(node)}", node)
            return owner.items[key]
        if isinstance(node.slice, ast.JoinedStr) and isinstance(owner := self.eval(node.value, env), Modules):
            return owner.items[0] if len(owner.items) == 1 else Either(owner.items)
        return super().eval_subscript(node, env)

    def call_function(self, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        if name.endswith("nn.ModuleDict") and args and isinstance(args[0], Fields):
            return Modules(list(args[0].items.values()), True)
        return super().call_function(name, args, kwargs, node)

    def assign(self, target: ast.expr, value: Any, env: Env) -> None:
        key = getattr(target.slice, "value", None) if isinstance(target, ast.Subscript) else None
        if isinstance(target, ast.Subscript) and isinstance(owner := self.eval(target.value, env), Fields):
            if isinstance(target.slice, ast.JoinedStr) and isinstance(value, Instance | Leaf):
                key = text(target.slice)  # modules of one kind, each under a key of its own
            if not isinstance(key, str):
                raise self.unsupported(f"assignment to {text(target)}", target)
            owner.items[key] = value
        else:
            super().assign(target, value, env)

    def eval_call(self, node: ast.Call, env: Env) -> Any:
        """``f(**d)`` is ``f(a=d["a"], b=d["b"])``."""
        if all(keyword.arg for keyword in node.keywords):
            return super().eval_call(node, env)
        keywords, inner = [], dict(env)
        for keyword in node.keywords:
            given = self.eval(keyword.value, env) if keyword.arg is None else None
            if not isinstance(given, Fields):
                keywords.append(keyword)
                continue
            for key, value in given.items.items():
                local = f"{text(keyword.value)}[{key!r}]"  # no name of a program
                inner[local] = value
                keywords.append(ast.keyword(key, ast.copy_location(ast.Name(local, ast.Load()), node)))
        if keywords == node.keywords:
            return super().eval_call(node, env)
        return super().eval_call(ast.copy_location(ast.Call(node.func, node.args, keywords), node), inner)

    def call_method(self, method: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        if isinstance(method.base, Fields) and method.name in ("get", "pop") and args and isinstance(args[0], Const):
            return method.base.items.get(args[0].value, args[1] if len(args) > 1 else Const(None))
        return super().call_method(method, args, kwargs, node)

    def join_known(self, a: Any, b: Any) -> Any:
        if isinstance(a, Fields) and isinstance(b, Fields) and a.items.keys() == b.items.keys():
            return Fields({key: self.join(value, b.items[key]) for key, value in a.items.items()})
        return super().join_known(a, b)
