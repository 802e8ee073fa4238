"""Calls of a constructor's text: modules that are built, methods of modules, what torch makes."""

from __future__ import annotations

import ast
from typing import Any

from omniport.custom.constructor.expressions import PLAIN, Expressions
from omniport.custom.constructor.layers import FOREIGN, LAYERS, UNKNOWN, Tensors, Unknown, Unread, dim
from omniport.custom.constructor.values import (
    LONG,
    Class,
    Foreign,
    Method,
    Module,
    OfDict,
    Return,
    Super,
    Tensor,
    bound,
    items,
    makes_modules,
    no_shape,
)
from omniport.custom.prepare import INITIALISERS

TENSORS = frozenset({"zeros", "ones", "randn", "rand", "empty", "full"})
DEPTH = 60  # calls within calls
#: bases whose constructor makes no tensors
PLAIN_BASES = frozenset(
    {
        "Module", "ModelMixin", "ConfigMixin", "PreTrainedModel", "ABC", "object", "PeftAdapterMixin", "CacheMixin",
        "FromOriginalModelMixin", "Generic", "PushToHubMixin", "PyTorchModelHubMixin",
    }
)  # fmt: skip


class Calls(Expressions):
    """Follows calls."""

    def build(self, name: str, args: list[Any], keywords: dict[str, Any], *, strict: bool = True) -> Module:
        """An instance of a class of the module; without ``strict`` what is not given is unknown."""
        if not self.is_module(name):
            raise Unread(f"{name} is no module")
        module = Module(name)
        self.init_of(module, name, args, keywords, strict=strict)
        return module

    def init_of(
        self,
        module: Module,
        cls: str,
        args: list[Any],
        keywords: dict[str, Any],
        *,
        after: str = "",
        strict: bool = True,
    ) -> None:
        found = self.method(cls, "__init__", after)
        if found is not None:
            self.call_of(found[1], [module, *args], keywords, module, found[0], strict=strict)
            return
        bases = [b for b in self.line_of(cls) if b not in self.classes]
        layer = next((b[9:] for b in bases if b.startswith("torch.nn.") and b[9:] in LAYERS), "")
        if layer:
            module.own |= LAYERS[layer](*args, **keywords)
        elif any(b.rsplit(".", 1)[-1] in ("ModuleList", "Sequential") for b in bases) and args:
            self.fill(module, args)
        elif bad := [b for b in bases if b.rsplit(".", 1)[-1] not in PLAIN_BASES]:
            raise Unread(f"{cls} is built by {bad[0]}")

    def call_of(
        self,
        node: ast.FunctionDef,
        args: list[Any],
        keywords: dict[str, Any],
        owner: Module | None,
        cls: str,
        *,
        strict: bool = True,
    ) -> Any:
        scope = bound(node, args, keywords, lambda default: self.value(default, {}, owner, cls), strict)
        self.depth += 1
        if self.depth > DEPTH:
            raise Unread("calls that go too deep")
        try:
            self.run(node.body, scope, owner, cls)
        except Return as returned:
            return returned.value
        finally:
            self.depth -= 1
        return None

    def called(self, node: ast.Call, scope: dict[str, Any], owner: Module | None, cls: str) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "super" and owner is not None:
            return Super(owner, cls)
        function = self.value(node.func, scope, owner, cls)
        args: list[Any] = []
        for arg in node.args:
            value = self.value(arg.value if isinstance(arg, ast.Starred) else arg, scope, owner, cls)
            if isinstance(arg, ast.Starred):
                if isinstance(value, Unknown):
                    raise Unread(f"the arguments of {ast.unparse(node)[:60]}")
                args += items(value)
            else:
                args.append(value)
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope, owner, cls)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, dict):
                keywords |= value
            else:
                raise Unread(f"the arguments of {ast.unparse(node)[:60]}")
        return self._apply(function, args, keywords, node, owner, cls)

    def _apply(
        self, function: Any, args: list[Any], keywords: dict[str, Any], node: ast.Call, owner: Module | None, cls: str
    ) -> Any:
        if isinstance(function, Class):
            if not self.is_module(function.name):
                return UNKNOWN
            return self.build(function.name, args, keywords)
        if isinstance(function, ast.FunctionDef):
            if not any(isinstance(a, Module | Tensor) for a in (*args, *keywords.values())) and not makes_modules(
                function
            ):
                return UNKNOWN  # a number or a table
            return self.call_of(function, args, keywords, None, "")
        if isinstance(function, Method):
            return self._on_module(function, args, keywords, node)
        if isinstance(function, OfDict):
            return function.call(args)
        if isinstance(function, Foreign):
            return self._foreign(function.path, args, keywords, node)
        if callable(function) and not isinstance(function, type(UNKNOWN)):
            if any(isinstance(a, Unknown) for a in args):
                return UNKNOWN
            listed = function in PLAIN.values()
            made = function(*(items(a) if listed and isinstance(a, Module) else a for a in args), **keywords)
            return list(made) if isinstance(made, zip | enumerate | reversed) else made
        if isinstance(function, Module | Tensor):
            return Tensor(None)
        if any(isinstance(a, Module) for a in (*args, *keywords.values())):
            raise Unread(f"what {ast.unparse(node.func)[:60]} does with a module")
        return UNKNOWN

    def _on_module(self, method: Method, args: list[Any], keywords: dict[str, Any], node: ast.Call) -> Any:
        module, name = method.owner, method.name
        if method.cls.startswith("<"):
            after = method.cls[1:]
            if name == "__init__":
                return self.init_of(module, module.cls, args, keywords, after=after)
            found = self.method(module.cls, name, after)
            return self.call_of(found[1], [module, *args], keywords, module, found[0]) if found else None
        if INITIALISERS.match(name):
            return None
        if method.cls:
            found = self.method(module.cls, name)
            assert found is not None
            if any(
                isinstance(d, ast.Name) and d.id in ("staticmethod", "classmethod") for d in found[1].decorator_list
            ):
                return UNKNOWN
            return self.call_of(found[1], [module, *args], keywords, module, found[0])
        if name == "register_buffer":
            persistent = keywords.get("persistent", args[2] if len(args) > 2 else True)
            if persistent is True and args and isinstance(args[0], str):
                value = args[1] if len(args) > 1 else keywords.get("tensor")
                if value is not None:
                    shape = value.shape if isinstance(value, Tensor) else None
                    module.own[args[0]] = shape if shape is not None else no_shape(args[0])
            elif isinstance(persistent, Unknown) or not args:
                raise Unread(f"{ast.unparse(node)[:60]}")
        elif (
            name in ("register_parameter", "add_module", "register_module")
            and len(args) == 2
            and isinstance(args[0], str)
        ):
            if args[1] is not None:
                self.set(module, args[0], args[1], node.func)
        elif name == "append" and len(args) == 1:
            self.fill(module, [[*module.children.values(), args[0]]])
        elif name == "extend" and len(args) == 1:
            self.fill(module, [[*module.children.values(), *items(args[0])]])
        elif name in ("insert", "pop", "update", "register_module"):
            raise Unread(f"{ast.unparse(node)[:60]}")
        return module if name in ("to", "eval", "half", "float", "cuda", "requires_grad_", "train", "apply") else None

    def fill(self, module: Module, args: list[Any]) -> None:
        """Children of a list, or of ``Sequential``."""
        items = args[0] if len(args) == 1 and isinstance(args[0], list | tuple | dict) else args
        pairs = items.items() if isinstance(items, dict) else [(str(i), item) for i, item in enumerate(items)]
        module.children = {}
        for key, item in pairs:
            if item is None:
                continue
            if not isinstance(item, Module):
                raise Unread(f"an element of a list of modules: {item!r:.60}")
            module.children[str(key)] = item

    def _foreign(self, path: str, args: list[Any], keywords: dict[str, Any], node: ast.Call) -> Any:
        last = path.rpartition(".")[2]
        if path.startswith("torch.nn.init.") or path.startswith("torch.nn.functional."):
            return UNKNOWN
        if path.startswith("torch.nn."):
            return self._torch(last, args, keywords, node)
        if path.startswith("torch."):
            if last in TENSORS:
                given = (
                    keywords.get("size", args[0] if len(args) == 1 or last == "full" else args)
                    if args or keywords
                    else ()
                )
                return Tensor(tuple(dim(v) for v in given) if isinstance(given, list | tuple) else (dim(given),))
            if last == "arange" and len(args) == 1:
                return Tensor((dim(args[0]),))
            return (
                Tensor(None)
                if last in ("tensor", "cat", "stack", "linspace", "arange", "eye", "from_numpy")
                else UNKNOWN
            )
        if path == "range":
            if any(dim(a) is None for a in args):
                raise Unread(f"how often {ast.unparse(node)[:60]} repeats")
            if len(range(*args)) > LONG:
                raise Unread(f"{ast.unparse(node)[:60]} is long")
            return list(range(*args))
        if path == "getattr" and len(args) >= 2 and isinstance(args[1], str):
            found = self._attribute(args[0], args[1])
            return args[2] if isinstance(found, Unknown) and len(args) > 2 and isinstance(args[0], dict) else found
        if path == "isinstance" and len(args) == 2:
            return _isinstance(args[0], args[1])
        if path == "hasattr":
            return UNKNOWN
        if path in ("collections.OrderedDict", "OrderedDict") and args:
            return dict(items(args[0]))
        if any(isinstance(a, Module) for a in (*args, *keywords.values())):
            raise Unread(f"what {path} does with a module")
        if path in FOREIGN:
            return self.layer(FOREIGN[path](*args, **keywords))
        return Foreign(f"{path}()") if last[:1].isupper() or "from_" in last else UNKNOWN

    def _torch(self, last: str, args: list[Any], keywords: dict[str, Any], node: ast.Call) -> Any:
        if last in ("Parameter", "Buffer"):
            value = args[0] if args else keywords.get("data")
            return Tensor(value.shape if isinstance(value, Tensor) else None, True)
        if last in ("ModuleList", "Sequential", "ModuleDict", "ParameterList"):
            module = Module("")
            if args:
                self.fill(module, args)
            return module
        if last not in LAYERS:
            raise Unread(f"nn.{last} is a layer that is not known")
        return self.layer(LAYERS[last](*args, **keywords))

    def layer(self, tensors: Tensors) -> Module:
        """A module of another package, with its tensors."""
        made = Module("")
        for name, shape in tensors.items():
            held = made
            *parts, leaf = name.split(".")
            for part in parts:
                held = held.children.setdefault(part, Module(""))
            held.own[leaf] = shape
        return made


def _isinstance(value: Any, kinds: Any) -> Any:
    """Of plain values; whether a module is of a class is not followed."""
    found = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, int | float | str | bool | list | tuple | dict | None) and all(
        isinstance(k, type) for k in found
    ):
        return isinstance(value, found)
    return UNKNOWN
