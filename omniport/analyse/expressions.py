"""Expressions of a normal form without calls: names, attributes, subscripts, comprehensions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from omniport.analyse.facts import Demand
from omniport.analyse.operators import Env as Env
from omniport.analyse.operators import Operators
from omniport.analyse.ops import HOLD_TENSORS, tensors_in
from omniport.analyse.poly import PER_RANK, Poly
from omniport.analyse.shapes import (
    Const,
    Dim,
    Either,
    Function,
    Instance,
    Key,
    Leaf,
    Method,
    Modules,
    Num,
    Opaque,
    Partial,
    Seq,
    Shape,
    Tensor,
)
from omniport.analyse.syntax import text as text
from omniport.errors import UnsupportedError
from omniport.source.nodes import each_node
from omniport.source.tree import SourceTree

_UNKNOWN = frozenset({"?"})


class _Handlers(dict[type, str]):
    def __missing__(self, kind: type) -> str:
        found = self[kind] = f"eval_{kind.__name__.lower()}"
        return found


_HANDLERS = _Handlers()  # the method for each kind of expression
#: What ``nn.Module`` and diffusers' ``ModelMixin`` give each module.
_MODULE = frozenset({"training", "parameters", "named_parameters", "buffers", "dtype", "device", "config", "modules"})


def _by_index(node: ast.expr, target: ast.expr) -> bool:
    """Whether an expression compares the variable of its loop."""
    names = {name.id for name in each_node(target) if isinstance(name, ast.Name)}
    compared = (inner for part in each_node(node) if isinstance(part, ast.Compare) for inner in each_node(part))
    return any(isinstance(name, ast.Name) and name.id in names for name in compared)


class Expressions(Operators):
    """Evaluates expressions; calls are added by ``calls.Calls``, statements and module bodies by ``dataflow.Walk``."""

    read: set[str]  # origins of the tensors that the expression being evaluated reads
    classes: dict[str, ast.ClassDef]
    functions: dict[str, ast.FunctionDef]
    home: dict[str, str]
    source: SourceTree | None
    imports: dict[str, tuple[str, str]]
    imported: set[str]
    attempt: Callable[..., Any]
    bring: Callable[[str], ast.ClassDef | ast.FunctionDef | None]
    run_function: Callable[..., Any]
    loops: int
    bind: Callable[..., Env]
    body: Callable[..., Any]
    returns: list[list[Any]]
    has_method: Callable[[Instance, str], bool]
    construct: Callable[..., None]
    method_of: Callable[..., ast.FunctionDef]
    call_module: Callable[..., Any]
    logged: Callable[..., Any]
    iterate: Callable[..., tuple[list[Any], bool]]
    assign: Callable[..., None]
    unsupported: Callable[..., UnsupportedError]

    def eval(self, node: ast.expr, env: Env) -> Any:
        """The abstract value of an expression."""
        if type(node) is ast.Name:
            value = self.eval_name(node, env)
            kind = type(value)
            if kind in HOLD_TENSORS:
                for tensor in (value,) if kind is Tensor else tensors_in((value,)):
                    self.read |= tensor.origins or _UNKNOWN
            return value
        if type(node) is ast.Constant:  # which reads nothing
            return self.eval_constant(node, env)
        handler = getattr(self, _HANDLERS[type(node)], None)
        if handler is None:
            raise self.unsupported(f"expression {text(node)}", node)
        outer, self.read = self.read, set()
        try:
            value = handler(node, env)
        finally:
            read, self.read = self.read, outer
        kind = type(value)
        if kind in HOLD_TENSORS:
            for tensor in (value,) if kind is Tensor else tensors_in((value,)):
                if tensor.origins is None:
                    tensor.origins = frozenset(read or {"self"})
                outer |= tensor.origins or _UNKNOWN
        return value

    # --------------------------------------------------------------------------------------------------------- simple
    def eval_constant(self, node: ast.Constant, env: Env) -> Any:
        """A constant; its value is kept with the node, since nothing changes it."""
        if "_value" not in node.__dict__:
            number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
            made = Num(Poly.of(node.value)) if number else ... if node.value is ... else Const(node.value)
            node.__dict__["_value"] = made
        return node.__dict__["_value"]

    def eval_name(self, node: ast.Name, env: Env) -> Any:
        if node.id in env:
            return env[node.id]
        home = self.home.get(self.instance.cls) if hasattr(self, "instance") else None
        if home is not None and node.id in self.classes and node.id not in self.imported:
            self.imports.setdefault(f"{node.id}_", (home, node.id))  # the reference's class, not that of the port
            return Function(f"{node.id}_")
        return Function(node.id)

    def eval_slice(self, node: ast.Slice, env: Env) -> Any:
        return Opaque(text(node))

    def eval_tuple(self, node: ast.Tuple | ast.List, env: Env) -> Any:
        return Seq([self.eval(element, env) for element in node.elts])

    eval_list = eval_tuple

    def eval_joinedstr(self, node: ast.JoinedStr, env: Env) -> Any:
        return Opaque(text(node))

    def eval_dict(self, node: ast.Dict, env: Env) -> Any:
        values = [self.eval(value, env) for value in node.values]
        return self.unknown(values, f"a dict {text(node)}") if tensors_in(values) else Opaque(text(node))

    # ------------------------------------------------------------------------------------------------ attributes, items
    def eval_attribute(self, node: ast.Attribute, env: Env) -> Any:
        owner, name = self.eval(node.value, env), node.attr
        if isinstance(owner, Instance):
            if not self.building:
                self.asked_of.add(owner.cls)
            if not self.building and (owner.cls, name) in self.decisions.local:
                value = owner.attributes.get(name)
                return Num((value.poly if isinstance(value, Num) else self.decisions.local[owner.cls, name]) * PER_RANK)
            if name in owner.attributes:
                return owner.attributes[name]
            if self.has_method(owner, name) or name in ("register_buffer", "register_parameter"):
                return Method(owner, name)
            if owner is self.root and name in owner.bindings:
                return owner.bindings[name]  # a configuration value: the rewrite has the constructor keep it
            for item in self.classes[owner.cls].body:
                if isinstance(item, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in item.targets):
                    return self.eval(item.value, {})
            if name in _MODULE:
                return Opaque(text(node))
            raise self.unsupported(f"{text(node)} is not set by the constructor", node)
        if isinstance(owner, Function):
            return Function(f"{owner.name}.{name}")
        if isinstance(owner, Tensor):
            if name == "shape" and owner.dims is not None:
                return Seq([Num(self.size_read(dim)) for dim in owner.dims])
            if name in ("ndim",) and owner.dims is not None:
                return Num(Poly.of(len(owner.dims)))
            if name == "shape":
                return Shape(f"{text(node)} of {owner.serial}", owner)
            if name in ("dtype", "device", "is_cuda", "requires_grad", "ndim", "is_floating_point"):
                return Opaque(text(node))
            if name in ("T", "mT", "H", "mH"):
                return self.unknown((owner,), text(node))
        if isinstance(owner, Method) and isinstance(owner.base, Tensor):  # of a tensor's attribute that has no rule
            return self.unknown((owner.base,), text(node))
        if isinstance(owner, Leaf) and name in ("in_features", "out_features"):
            if self.building:
                self.facts.sized.add(owner.key)
            else:
                self.facts.plain.setdefault(owner.key, self.line)
            return owner.argument(int(name == "out_features"), name)
        if isinstance(owner, Leaf) and name in ("weight", "bias") and not self.building:
            self.facts.plain.setdefault(owner.key, self.line)
            if owner.cls.rpartition(".")[2] == "Linear" and owner.key not in self.decisions.whole | self.skipped(owner):
                raise Demand(frozenset({owner.key}), f"its {name} is used directly", node.lineno)
            return Tensor(None)
        return Method(owner, name)

    def skipped(self, leaf: Leaf) -> dict[Key, Any]:
        """``leaf`` if it is no part of the port."""
        return {leaf.key: None} if leaf.key[0] in self.imported else {}

    def size_read(self, dim: Dim) -> Poly:
        """The size of a dimension as the program sees it: a sharded one has no global size on a rank."""
        if not dim.parts:
            return dim.size
        self.local.append(dim)
        return dim.size * PER_RANK

    def eval_subscript(self, node: ast.Subscript, env: Env) -> Any:
        owner = self.eval(node.value, env)
        if isinstance(getattr(node.slice, "value", None), str) and not isinstance(owner, Function):
            return self.unknown(tensors_in([owner]), f"an entry of a dict {text(node)}")
        if isinstance(owner, Tensor):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return self.index(owner, [self.subscript(part, env) for part in parts])
        at = self.eval(node.slice, env) if not isinstance(node.slice, ast.Slice) else None
        if isinstance(owner, Seq | Modules) and not owner.many and isinstance(at, Num) and at.poly.constant is not None:
            index = int(at.poly.constant)
            if not -len(owner.items) <= index < len(owner.items):
                raise self.unsupported(f"subscript {text(node)}", node)
            return owner.items[index]
        if isinstance(owner, Seq) and isinstance(node.slice, ast.Slice):
            low, high = (
                self.eval(bound, env) if bound else Num(Poly.of(0)) for bound in (node.slice.lower, node.slice.upper)
            )
            ends = [
                int(end.poly.constant) if isinstance(end, Num) and end.poly.constant is not None else None
                for end in (low, high)
            ]
            if owner.many or None in ends or node.slice.step is not None:
                return Seq(owner.items, True)
            return Seq(owner.items[ends[0] : ends[1] if node.slice.upper else None])
        if isinstance(owner, Modules) and isinstance(node.slice, ast.Slice):
            return owner  # a run of alike blocks
        if isinstance(owner, Seq | Modules) and owner.many:
            return owner.items[0]
        if isinstance(owner, Modules) and owner.items:
            return Either(owner.items)
        if isinstance(owner, Either) and all(isinstance(item, Modules) and item.items for item in owner.items):
            return Either([item.items[0] for item in owner.items])
        if isinstance(owner, Seq):
            return self.unknown((owner,), f"subscript {text(node)}") if tensors_in((owner,)) else Opaque(text(node))
        if isinstance(owner, Function) and isinstance(at, Const):
            return self.constant_item(owner.name, at.value, node)
        end = at.poly.constant if isinstance(owner, Shape) and isinstance(at, Num) else None
        if end is not None and -len(owner.tensor.tail) <= end < 0:
            return Num(self.size_read(owner.tensor.tail[int(end)]))
        if isinstance(owner, Opaque) and isinstance(at, Num) and ".shape of" in owner.text:
            return Num(Poly.of(f"{owner.text}[{at.poly}]"))
        if isinstance(owner, Opaque | Method):
            return Num(Poly.of(text(node)))
        raise self.unsupported(f"subscript {text(node)}", node)

    def constant_item(self, name: str, key: Any, node: ast.Subscript) -> Any:
        """An entry of a table that a module defines by a literal."""
        module, attribute = self.imports.get(name, ("", ""))
        found = self.source.resolve(module, attribute) if self.source is not None and module else None
        table = getattr(found[0].definitions[found[1]], "value", None) if found is not None else None
        if found is not None and isinstance(table, ast.Dict):
            for entry, value in zip(table.keys, table.values, strict=True):
                bound = value if isinstance(value, ast.Call) and text(value.func).endswith("partial") else None
                chosen = bound.args[0] if bound is not None and len(bound.args) == 1 else value
                if isinstance(entry, ast.Constant) and entry.value == key and isinstance(chosen, ast.Name):
                    self.imports.setdefault(chosen.id, (found[0].name, chosen.id))
                    given = bound.keywords if bound is not None else []
                    kwargs = tuple((k.arg or "", self.eval(k.value, {})) for k in given)
                    return Partial(Function(chosen.id), kwargs) if bound is not None else Function(chosen.id)
        raise self.unsupported(f"subscript {text(node)}", node)

    def subscript(self, part: ast.expr, env: Env) -> Any:
        if isinstance(part, ast.Slice):
            if part.step is not None:
                return Opaque("step")
            low, high = (self.eval(bound, env) if bound else None for bound in (part.lower, part.upper))
            return (low, high)
        return self.eval(part, env)

    def eval_listcomp(self, node: ast.ListComp, env: Env) -> Any:
        (loop,) = node.generators[:1]
        if len(node.generators) != 1:
            raise self.unsupported(f"comprehension {text(node)}", node)
        items, many = self.iterate(self.eval(loop.iter, env), loop.iter)
        many = many or bool(loop.ifs)
        results = []
        chosen = [True, False] if many and self.building and _by_index(node.elt, loop.target) else [None]
        for item in items:
            for self.picked in chosen:  # blocks that differ by their index: those it is true of, and the others
                inner = dict(env)
                self.assign(loop.target, item, inner)
                results.append(self.eval(node.elt, inner))
        self.picked = None
        return Seq(results, many)

    eval_generatorexp = eval_listcomp
