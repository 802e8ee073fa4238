"""What calls of Python's own functions mean: one method for each."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from omniport.analyse.expressions import text
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Closure, Const, Instance, Leaf, Modules, Num, Opaque, Seq
from omniport.analyse.tensors import TensorCalls


class BuiltinCalls(TensorCalls):
    """``call_<name>`` is given the arguments and the call."""

    call_item: Callable[..., Any]

    def call_range(self, args: list[Any], node: ast.Call) -> Any:
        self.counted(args, "loops over")
        return Seq([Num(Poly.of(f"range@{node.lineno}"))], many=True)

    def call_len(self, args: list[Any], node: ast.Call) -> Any:
        many = isinstance(args[0], Seq | Modules) and not args[0].many
        return Num(Poly.of(len(args[0].items) if many else text(node)))

    def call_enumerate(self, args: list[Any], node: ast.Call) -> Any:
        items, many = self.iterate(args[0], node)
        indices = [Num(Poly.of(f"index@{node.lineno}")) if many else Num(Poly.of(i)) for i in range(len(items))]
        return Seq([Seq([index, item]) for index, item in zip(indices, items, strict=True)], many)

    def call_zip(self, args: list[Any], node: ast.Call) -> Any:
        columns = [self.iterate(arg, node) for arg in args]
        many = any(flag for _, flag in columns)
        return Seq([Seq(list(row)) for row in zip(*(items for items, _ in columns), strict=False)], many)

    def call_int(self, args: list[Any], node: ast.Call) -> Any:
        value = args[0]
        return value if isinstance(value, Num) and value.poly.integral else Num(Poly.of(f"int({text(node.args[0])})"))

    def call_hasattr(self, args: list[Any], node: ast.Call) -> Any:
        owner, name = args[0], getattr(args[1], "value", None) if len(args) > 1 else None
        if not isinstance(owner, Instance) or not isinstance(name, str):
            return Opaque(text(node))
        value = owner.attributes.get(name)
        sure = value is None or not (id(value) in self.optional or value == Const(None))
        return Const(value is not None) if sure else Opaque(text(node))

    def call_map(self, args: list[Any], node: ast.Call) -> Any:
        items, many = self.iterate(args[1], node)
        if not isinstance(args[0], Closure | Instance | Leaf):
            raise self.unsupported(f"call {text(node)}", node)
        if isinstance(args[0], Closure):
            function, env = args[0].function, args[0].env
            bound = (self.bind(function, [item], {}, node) for item in items)
            return Seq([self.run_function(function, self.instance, {**env, **given}) for given in bound], many)
        return Seq([self.call_item(args[0], [item], {}, node) for item in items], many)

    def call_tuple(self, args: list[Any], node: ast.Call) -> Any:
        return args[0] if args else Seq([])

    call_list = call_tuple
