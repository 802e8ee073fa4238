"""What each kind of call of a normal form means: modules, tensor operations, library functions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from omniport.analyse import library
from omniport.analyse.builtin_calls import BuiltinCalls
from omniport.analyse.expressions import Env, text
from omniport.analyse.facts import UnfitError
from omniport.analyse.kept import Kept, annotated
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import (
    Closure,
    Const,
    Dim,
    Either,
    Function,
    Instance,
    Leaf,
    Method,
    Modules,
    Num,
    Opaque,
    Partial,
    Seq,
    Tensor,
    adopt,
    same,
)
from omniport.errors import UnsupportedError
from omniport.source.nodes import methods

_MODULES = ("nn.", "torch.nn.")
_FACTORIES = frozenset({"randn", "zeros", "ones", "empty", "arange", "tensor", "full", "linspace"})


class Calls(BuiltinCalls):
    """Evaluates calls."""

    kept: Kept
    mark: Callable[[], tuple[Any, ...]]
    reset: Callable[[tuple[Any, ...]], None]

    def eval_call(self, node: ast.Call, env: Env) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return Opaque("super")
        callee = self.eval(node.func, env)
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                value = self.eval(arg.value, env)
                if (
                    isinstance(value, Seq)
                    and value.many
                    and text(node.func).endswith(("Sequential", "zip", "max", "min"))
                ):
                    args.append(value)
                    continue
                if not isinstance(value, Seq) or value.many:
                    raise self.unsupported(f"argument {text(arg)}", node)
                args.extend(value.items)
            else:
                args.append(self.eval(arg, env))
        kwargs = {keyword.arg or "**": self.eval(keyword.value, env) for keyword in node.keywords}
        if "**" in kwargs:
            if not isinstance(callee, Instance):
                raise self.unsupported(f"call with ** {text(node)}", node)
            self.demand(tensors_in([kwargs["**"]]), "arguments passed by ** are whole")
        self.line = node.lineno
        if isinstance(callee, Instance):
            return self.call_module(callee, args, kwargs, node)
        if isinstance(callee, Leaf):
            inputs = {**{str(index): value for index, value in enumerate(args)}, **kwargs}
            return self.logged(callee, inputs, lambda: self.call_leaf(callee, args, kwargs))
        if isinstance(callee, Either):
            return self.call_either(callee, args, kwargs, node)
        if isinstance(callee, Closure):
            env = self.bind(callee.function, args, kwargs, node)
            return self.run_function(callee.function, self.instance, {**callee.env, **env})
        if isinstance(callee, Modules) and len(args) == 1 and not kwargs:
            return self.call_chain(callee, args[0], node)
        if isinstance(callee, Method):
            return self.call_method(callee, args, kwargs, node)
        if isinstance(callee, Partial):
            return self.call_function(callee.function.name, args, dict(callee.kwargs) | kwargs, node)
        if isinstance(callee, Function):
            return self.call_function(callee.name, args, kwargs, node)
        if isinstance(callee, Opaque):
            return self.unknown([*args, *kwargs.values()], text(node.func)) if tensors_in(args) else Opaque(text(node))
        raise self.unsupported(f"call {text(node)}", node)

    def call_item(self, item: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """A module of a list or of a choice."""
        if isinstance(item, Instance):
            return self.call_module(item, args, kwargs, node)
        if isinstance(item, Leaf):
            return self.call_leaf(item, args, kwargs)
        if isinstance(item, Either):
            return self.call_either(item, args, kwargs, node)
        if isinstance(item, Modules) and len(args) == 1 and not kwargs:
            return self.call_chain(item, args[0], node)
        raise self.unsupported(f"call {text(node)}", node)

    def call_chain(self, chain: Modules, value: Any, node: ast.Call) -> Any:
        """Modules one after the other: what is between them is computed from what goes in."""
        for item in chain.items:
            given, value = value, self.call_item(item, [value], {}, node)
            if isinstance(given, Tensor) and isinstance(value, Tensor) and value.origins is None:
                value.origins = given.origins
        return value

    def call_either(self, choice: Either, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """Each of the modules, and what holds of all their results."""
        results = []
        for item in choice.items:
            state = self.mark()
            try:
                if self.fits(item, args, kwargs):
                    results.append(self.call_item(item, list(args), kwargs, node))
            except UnfitError:  # the configuration never calls this one so
                self.reset(state)
        if not results:
            raise self.unsupported(f"call {text(node)}", node)
        lengths = {len(result.items) if isinstance(result, Seq) else -1 for result in results}
        if len(lengths) > 1 and -1 not in lengths:
            return Either(results)
        result = results[0]
        for other in results[1:]:
            result = self.join(result, other)
        return result

    def fits(self, item: Any, args: list[Any], kwargs: dict[str, Any]) -> bool:
        """Whether the call fits a module's parameters: where it does not, the configuration never leads here."""
        if isinstance(item, Leaf):
            rank = library.RANKS.get(item.cls.rpartition(".")[2])
            return rank is None or not args or not isinstance(args[0], Tensor) or len(args[0].dims or ()) in (0, rank)
        if not isinstance(item, Instance):
            return True
        try:
            self.bind(self.method_of(item.cls, "forward"), args, kwargs, self.method_of(item.cls, "forward"))
        except UnsupportedError:
            return False
        return True

    def call_leaf(self, leaf: Leaf, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A module of a class outside the normal form."""
        name = leaf.cls.rpartition(".")[2]
        x = args[0] if args else next(iter(kwargs.values()), None)
        if name == "Linear":
            return self.linear(leaf, x)
        if name in library.NORMS:
            return self.norm(x, leaf)
        if name in library.ELEMENTWISE_MODULES and isinstance(x, Tensor):
            return x if name in ("Dropout", "Identity") else self.combine([x])
        embedders = [part.rpartition(".")[2] for part in leaf.cls.split("|")]
        if all(part in library.EMBEDDERS for part in embedders):
            rows = embedders[0] in library.ROW_EMBEDDERS
            if rows and (not isinstance(x, Tensor) or x.dims is None):
                return self.unknown([*args, *kwargs.values()], leaf.path)
            self.demand(tensors_in([*args, *kwargs.values()]), f"{leaf.path} takes whole tensors")
            if not rows:
                self.unknown([*args, *kwargs.values()], leaf.path)
            width = leaf.argument(library.EMBEDDER_POSITIONS.get(embedders[0], 0), library.EMBEDDERS[embedders[0]])
            size = width.poly if isinstance(width, Num) else Poly.of(f"{leaf.path} width")
            if rows and isinstance(x, Tensor) and x.dims is not None:
                return Tensor((*x.dims[:-1], Dim(size)))
            return Tensor((Dim(Poly.of("batch")), Dim(size)))
        rank = len(x.dims) if isinstance(x, Tensor) and x.dims else None
        if name == "Conv2d" and (shared := self.conv(leaf, x)) is not None:
            return shared
        if name in library.RANKS:
            result = self.unknown([x], f"{leaf.cls} ({leaf.path})", library.RANKS[name])
            width = leaf.argument(1, "out_channels")
            return result.with_dim(1, Dim(width.poly)) if isinstance(width, Num) else result
        if name == "Embedding" and rank is not None:
            result = self.unknown([x], f"{leaf.cls} ({leaf.path})", rank + 1)
            width = leaf.argument(1, "embedding_dim")
            return result.with_dim(rank, Dim(width.poly)) if isinstance(width, Num) else result
        return self.unknown(
            [*args, *kwargs.values()], f"{leaf.cls} ({leaf.path})", rank if name in library.SAME_RANK else None
        )

    def call_function(self, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        last = name.rpartition(".")[2]
        if name in library.NEVER:
            return Const(False)
        if last in library.ACTIVATION_FACTORIES:
            return Leaf("nn.SiLU", [], {}, node.lineno)
        if last == "get" and len(args) == 2 and isinstance(args[1], Function | Partial):
            return args[1]  # one of several forms of a function: the one for any device
        if name in self.classes:
            instance = Instance(name)
            self.construct(instance, self.bind(self.method_of(name, "__init__"), args, kwargs, node))
            return instance
        if name.startswith(_MODULES) and last in ("ModuleList", "Sequential"):
            held = args[0] if last == "ModuleList" and args else Seq(args)
            if isinstance(held, Seq) and len(held.items) == 1 and isinstance(held.items[0], Seq):
                held = held.items[0]
            return Modules(list(held.items), held.many) if isinstance(held, Seq) else Modules([])
        if name.startswith(_MODULES) and last == "Parameter":
            made = args[0] if args and isinstance(args[0], Tensor) else Tensor(None)
            made = made.alike(made.known)
            made.origins = frozenset({"parameter"})
            return made
        if last[:1].isupper():
            if library.OUTPUTS.match(last):
                return Seq([*args, *kwargs.values()])
            return self.call_imported_class(name, args, kwargs, node)
        if "|" in name:
            return Leaf(name, args, kwargs, node.lineno)
        builtin = getattr(self, f"call_{last}", None) if "." not in name else None
        if builtin is not None:
            return builtin(args, node)
        if last in library.ATTENTION:
            named = dict(zip(library.ATTENTION_PARAMETERS, args, strict=False)) | kwargs
            tensors = [named.pop(key, None) for key in ("query", "key", "value")]
            site = (self.instance.cls, node.lineno, node.col_offset)
            return self.attention(site, tensors, named, heads_first=library.ATTENTION[last])
        if (turned := self.rotary_of_all_heads(last, node, args)) is not None:
            return turned
        if last in library.ROTARY:
            return self.rotary(last, args, kwargs)
        if last in library.ROTARY_TABLES:
            width_at, rows_at = library.ROTARY_TABLES[last]
            rows = args[rows_at] if len(args) > rows_at else None
            if isinstance(rows, Tensor) and rows.dims is not None and len(rows.dims) == 1:
                width = args[width_at].poly if isinstance(args[width_at], Num) else Poly.of(text(node.args[width_at]))
                return Seq([Tensor((rows.dims[0], Dim(width))) for _ in range(2)])
        if last == "einsum" and args and isinstance(node.args[0], ast.Constant):
            result = str(node.args[0].value).rpartition("->")[2].strip()
            return self.unknown(args[1:], last, None if "..." in result else len(result))
        if name.startswith(("torch.", "F.", "nn.functional.")) and args and isinstance(args[0], Tensor | Seq):
            return self.tensor_call(last, args[0], args[1:], kwargs, node)
        values = [*args, *kwargs.values()]
        function = self.functions.get(name) or (self.bring(name) if "." not in name and tensors_in(values) else None)
        if isinstance(function, ast.FunctionDef):
            env = self.bind(function, args, kwargs, node)
            if name in self.functions:
                return self.run_function(function, self.instance, env)
            return self.run_imported(name, function, env, values)
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

    def run_imported(self, name: str, function: ast.FunctionDef, env: Env, values: list[Any]) -> Any:
        """A function of the reference package; one that calls itself on alike arguments tells nothing new."""

        def alike(other: ast.FunctionDef, before: Env) -> bool:
            return other is function and all(key in before and same(before[key], env[key]) for key in env)

        def run() -> Any:
            if any(alike(*call) for call in self.active):
                raise self.unsupported(f"{function.name} calls itself", function)
            self.active.append((function, dict(env)))
            try:
                return self.run_function(function, self.instance, env)
            finally:
                self.active.pop()

        return self.attempt(run, lambda: self.unknown(values, name))

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

    # -------------------------------------------------------------------------------------------------------- methods
    def call_method(self, method: Method, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        owner, name = method.base, method.name
        if isinstance(owner, Instance) and name in ("register_buffer", "register_parameter") and args:
            written = node.args[0]
            if not isinstance(written, ast.Constant):
                return Const(None)
            owner.attributes[str(written.value)] = args[1] if len(args) > 1 else kwargs.get("tensor")
            return Const(None)
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
        if isinstance(owner, Seq):
            return self.call_list_method(owner, name, args, node)
        if (kept := self.kept_call(node, args, kwargs)) is not None:
            return kept
        if isinstance(owner, Tensor):
            return self.tensor_call(name, owner, args, kwargs, node)
        values = [*args, *kwargs.values()]
        return self.unknown(values, text(node.func)) if tensors_in(values) else Opaque(text(node))

    def kept_call(self, node: ast.Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A method of an object that keeps tensors between calls, which a parameter of the forward holds."""
        holder = node.func.value if isinstance(node.func, ast.Attribute) else None
        forward = methods(self.classes[self.instance.cls]).get("forward")
        if not isinstance(holder, ast.Name) or forward is None:
            return None
        for name in annotated(forward, holder.id):
            if isinstance(cls := self.bring(name), ast.ClassDef):
                return self.kept.call(self.instance.cls, cls, node, args, kwargs)
        return None

    def call_list_method(self, owner: Seq, name: str, args: list[Any], node: ast.Call) -> Any:
        """A method of a list: what goes in can come out at any place."""
        if name == "pop" and owner.items:
            value = owner.items[0]
            for other in owner.items[1:]:
                value = self.join(value, other)
            owner.many = True
            return value
        if name in ("extend", "insert") and args:
            added = args[-1].items if isinstance(args[-1], Seq) else [args[-1]]
            owner.items.extend(added)
            owner.many = True
            return Const(None)
        values = [owner, *args]
        return self.unknown(values, text(node.func)) if tensors_in(values) else Opaque(text(node))
