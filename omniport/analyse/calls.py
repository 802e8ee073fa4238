"""What each kind of call of a normal form means: modules, tensor operations, library functions."""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Env, Expressions, text
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import (
    Const,
    Dim,
    Function,
    Instance,
    Leaf,
    Method,
    Modules,
    Num,
    Opaque,
    Seq,
    Tensor,
    adopt,
)

_MODULES = ("nn.", "torch.nn.")
_FACTORIES = frozenset({"randn", "zeros", "ones", "empty", "arange", "tensor", "full", "linspace"})
ZERO, LAST = Num(Poly.of(0)), Num(Poly.of(-1))


class Calls(Expressions):
    """Evaluates calls."""

    def eval_call(self, node: ast.Call, env: Env) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return Opaque("super")
        callee = self.eval(node.func, env)
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                value = self.eval(arg.value, env)
                if not isinstance(value, Seq) or value.many:
                    raise self.unsupported(f"argument {text(arg)}", node)
                args.extend(value.items)
            else:
                args.append(self.eval(arg, env))
        if any(keyword.arg is None for keyword in node.keywords):
            raise self.unsupported(f"call with ** {text(node)}", node)
        kwargs = {keyword.arg or "": self.eval(keyword.value, env) for keyword in node.keywords}
        self.line = node.lineno
        if isinstance(callee, Instance):
            return self.call_module(callee, args, kwargs, node)
        if isinstance(callee, Leaf):
            inputs = {**{str(index): value for index, value in enumerate(args)}, **kwargs}
            return self.logged(callee, inputs, lambda: self.call_leaf(callee, args, kwargs))
        if isinstance(callee, Modules) and len(args) == 1 and not kwargs:
            for item in callee.items:
                args = [
                    self.call_module(item, args, {}, node)
                    if isinstance(item, Instance)
                    else self.call_leaf(item, args, {})
                ]
            return args[0]
        if isinstance(callee, Method):
            return self.call_method(callee, args, kwargs, node)
        if isinstance(callee, Function):
            return self.call_function(callee.name, args, kwargs, node)
        if isinstance(callee, Opaque):
            return self.unknown([*args, *kwargs.values()], text(node.func)) if tensors_in(args) else Opaque(text(node))
        raise self.unsupported(f"call {text(node)}", node)

    def call_leaf(self, leaf: Leaf, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A module of a class outside the normal form."""
        name = leaf.cls.rpartition(".")[2]
        x = args[0] if args else next(iter(kwargs.values()), None)
        if name == "Linear":
            return self.linear(leaf, x)
        if name in library.NORMS:
            return self.norm(x, leaf.path)
        if name in library.ELEMENTWISE_MODULES and isinstance(x, Tensor):
            return x if name in ("Dropout", "Identity") else self.combine([x])
        embedders = [part.rpartition(".")[2] for part in leaf.cls.split("|")]
        if all(part in library.EMBEDDERS for part in embedders):
            self.unknown([*args, *kwargs.values()], leaf.path)
            width = leaf.argument(library.EMBEDDER_POSITIONS.get(embedders[0], 0), library.EMBEDDERS[embedders[0]])
            size = width.poly if isinstance(width, Num) else Poly.of(f"{leaf.path} width")
            return Tensor((Dim(Poly.of("batch")), Dim(size)))
        return self.unknown([*args, *kwargs.values()], f"{leaf.cls} ({leaf.path})")

    def call_function(self, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        last = name.rpartition(".")[2]
        if name in self.classes:
            instance = Instance(name)
            self.construct(instance, self.bind(self.method_of(name, "__init__"), args, kwargs, node))
            return instance
        if name.startswith(_MODULES) and last in ("ModuleList", "Sequential"):
            held = args[0] if last == "ModuleList" and args else Seq(args)
            return Modules(list(held.items), held.many) if isinstance(held, Seq) else Modules([])
        if name.startswith(_MODULES) and last == "Parameter":
            return args[0]
        if last[:1].isupper():
            if library.OUTPUTS.match(last):
                return Seq([*args, *kwargs.values()])
            return self.call_imported_class(name, args, kwargs, node)
        if "|" in name:
            return Leaf(name, args, kwargs, node.lineno)
        builtin = getattr(self, f"call_{last}", None) if "." not in name else None
        if builtin is not None:
            return builtin(args, node)
        if last == "dispatch_attention_fn":
            options = {key: value for key, value in kwargs.items() if key not in ("query", "key", "value")}
            query, key, value = (
                args[i] if i < len(args) else kwargs.get(n) for i, n in enumerate(("query", "key", "value"))
            )
            return self.attention(query, key, value, options)
        if last in library.ROTARY:
            return self.rotary(last, args, kwargs)
        if last in library.ROTARY_TABLES:
            width_at, rows_at = library.ROTARY_TABLES[last]
            rows = args[rows_at] if len(args) > rows_at else None
            if isinstance(rows, Tensor) and rows.dims is not None and len(rows.dims) == 1:
                width = args[width_at].poly if isinstance(args[width_at], Num) else Poly.of(text(node.args[width_at]))
                return Seq([Tensor((rows.dims[0], Dim(width))) for _ in range(2)])
        if name.startswith(("torch.", "F.", "nn.functional.")) and args and isinstance(args[0], Tensor | Seq):
            return self.tensor_call(last, args[0], args[1:], kwargs, node, node.args[1:])
        values = [*args, *kwargs.values()]
        function = self.functions.get(name) or (self.bring(name) if "." not in name and tensors_in(values) else None)
        if isinstance(function, ast.FunctionDef):
            env = self.bind(function, args, kwargs, node)
            if name in self.functions:
                return self.run_function(function, self.instance, env)
            self.demand(tensors_in(values), f"{name} is not part of the port and takes whole tensors")
            found = function
            return self.attempt(
                lambda: self.run_function(found, self.instance, env), lambda: self.unknown(values, name)
            )
        self.counted(values, f"{name} is given")
        if tensors_in(values):
            return self.unknown(values, name)
        factory = name.startswith("torch.") and last in (
            "randn",
            "zeros",
            "ones",
            "empty",
            "arange",
            "tensor",
            "full",
            "linspace",
        )
        return self.filled(last, args) if factory else Opaque(text(node))

    def call_imported_class(self, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """A module from elsewhere: read in the reference package unless the tables know it."""
        last = name.rpartition(".")[2]
        known = last in library.NORMS or last in library.EMBEDDERS or last in library.ELEMENTWISE_MODULES
        found = self.bring(name) if not known and "." not in name else None
        leaf = Leaf(name, args, kwargs, node.lineno)
        if not isinstance(found, ast.ClassDef) or not any(
            isinstance(item, ast.FunctionDef) and item.name == "__init__" for item in found.body
        ):
            return leaf

        def make() -> Any:
            instance = Instance(name)
            self.construct(instance, self.bind(self.method_of(name, "__init__"), args, kwargs, node))
            return instance

        self.classes[name] = found
        self.imported.add(name)
        made = self.attempt(make, lambda: leaf)
        if made is leaf:
            del self.classes[name]
            self.facts.instances.pop(name, None)
        return made

    def call_range(self, args: list[Any], node: ast.Call) -> Any:
        self.counted(args, "loops over")
        return Seq([Num(Poly.of(f"range@{node.lineno}"))], many=True)

    @staticmethod
    def filled(name: str, args: list[Any]) -> Tensor:
        """A tensor that a factory makes; its shape where it is written out."""
        sizes = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
        if name == "arange" and len(args) in (1, 2) and all(isinstance(size, Num) for size in args):
            first = args[0].poly if len(args) == 2 else Poly.of(0)
            return Tensor((Dim(args[-1].poly - first),))
        if name in ("zeros", "ones", "randn", "empty") and sizes and all(isinstance(size, Num) for size in sizes):
            return Tensor(tuple(Dim(size.poly) for size in sizes))
        return Tensor(None)

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

    def call_tuple(self, args: list[Any], node: ast.Call) -> Any:
        return args[0] if args else Seq([])

    call_list = call_tuple

    # -------------------------------------------------------------------------------------------------------- methods
    def call_method(self, method: Method, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        owner, name = method.base, method.name
        if isinstance(owner, Instance):
            env = self.bind(self.method_of(owner.cls, name), args, kwargs, node)
            return self.body(owner, name, {"self": owner, **env})
        if isinstance(owner, Modules) and name == "append":
            owner.items.append(args[0])
            owner.many |= self.loops > 0
            if owner.owner is not None:
                adopt(args[0], owner.owner, f"{owner.path}.{'*' if owner.many else len(owner.items) - 1}")
            return Const(None)
        if isinstance(owner, Seq) and name == "append":
            if self.loops and owner.items:
                owner.items[0] = self.join(owner.items[0], args[0])
            else:
                owner.items.append(args[0])
            owner.many |= self.loops > 0
            return Const(None)
        if isinstance(owner, Tensor):
            return self.tensor_call(name, owner, args, kwargs, node, node.args)
        values = [*args, *kwargs.values()]
        return self.unknown(values, text(node.func)) if tensors_in(values) else Opaque(text(node))

    def tensor_call(
        self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call, written: list[ast.expr]
    ) -> Any:
        """A tensor operation, as method or as function of its first argument."""
        dim = kwargs.get("dim", args[-1] if args else ZERO)
        if name in ("cat", "concat"):
            return self.cat(x, kwargs.get("dim", args[0] if args else ZERO))
        if not isinstance(x, Tensor) or x.dims is None:
            return self.unknown([x, *args, *kwargs.values()], name)
        rank = len(x.dims)
        if name in library.ELEMENTWISE:
            self.counted([*args, *kwargs.values()], f"{name} is given")
            cast = name in ("to", "type", "type_as", "zeros_like", "ones_like")
            return self.combine([x] if cast else [x, *args, *kwargs.values()])
        if name == "chunk":
            return self.chunk(x, args[0], kwargs.get("dim", args[1] if len(args) > 1 else ZERO))
        if name in ("split", "split_with_sizes") and isinstance(args[0], Seq):
            at = self.axis(x, kwargs.get("dim", args[1] if len(args) > 1 else ZERO))
            sizes = [item.poly for item in args[0].items if isinstance(item, Num)]
            if at is not None and len(sizes) == len(args[0].items):
                return self.split(x, sizes, at, explicit=True)
        sizes_given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
        texts = [
            text(e) for e in (written[0].elts if len(args) == 1 and isinstance(written[0], ast.Tuple) else written)
        ]
        if (
            name == "unflatten"
            and len(args) == 2
            and isinstance(args[1], Seq)
            and (at := self.axis(x, args[0])) is not None
        ):
            pair = written[1]
            return self.unflatten(
                x, at, args[1].items, [text(e) for e in pair.elts] if isinstance(pair, ast.Tuple) else ["", ""]
            )
        if name in ("view", "reshape"):
            return self.view(x, sizes_given, texts)
        if name == "flatten":
            start, end = (
                (self.axis(x, value) for value in [*args, ZERO, LAST][:2])
                if len(args) > 1
                else (self.axis(x, args[0] if args else ZERO), rank - 1)
            )
            if start is not None and end is not None:
                return self.flatten(x, start, end)
        if name in library.REDUCTIONS and (given := kwargs.get("dim", args[0] if args else None)) is not None:
            at = self.axis(x, given)
            if at is not None:
                return self.reduce(x, at, name, keep=self.truth(kwargs.get("keepdim", Const(False)), node) is True)
        if name == "unsqueeze" and isinstance(dim, Num) and dim.poly.constant is not None:
            at = int(dim.poly.constant)
            at = at + rank + 1 if at < 0 else at
            return Tensor((*x.dims[:at], Dim(Poly.of(1)), *x.dims[at:]))
        if name == "squeeze" and (at := self.axis(x, dim)) is not None and args:
            return Tensor((*x.dims[:at], *x.dims[at + 1 :]))
        if name in ("transpose", "permute"):
            order = [self.axis(x, item) for item in sizes_given]
            if name == "transpose" and len(order) == 2 and None not in order:
                swapped: list[int | None] = list(range(rank))
                swapped[order[0] or 0], swapped[order[1] or 0] = order[1], order[0]
                order = swapped
            if len(order) == rank and None not in order:
                return Tensor(tuple(x.dims[at] for at in order if at is not None))
        return self.unknown([x, *args, *kwargs.values()], name)
