"""What comes into the forward of the root: which of its parameters are tensors, and of which shape."""

from __future__ import annotations

import ast
import functools
import re
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import text
from omniport.analyse.lenient import Lenient
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Dim, Either, Instance, Leaf, Opaque, Tensor
from omniport.source.nodes import each_node

_PLAIN = frozenset({"int", "bool", "str", "float", "dict", "Dict", "torch.dtype", "torch.device"})


class Entry(Lenient):
    """Makes the values of the root's parameters."""

    def input(self, name: str, default: ast.expr | None, annotation: str) -> Any:
        """A forward parameter: its shape is known from the table of shared names."""
        shape = library.INPUTS.get(name)
        if shape is None and (rank := self.rank_of(self.root, name)) is not None:
            return self.maybe(self.sizeless(rank), default is not None)
        if shape is None:
            plain = annotation.split("[")[0].split(" |")[0] in _PLAIN or isinstance(
                getattr(default, "value", None), bool | str
            )
            return Opaque(name) if plain or "return" in name else self.maybe(Tensor(None), default is not None)
        dims = tuple(
            Dim(Poly.of(f"len({name})"), (), (name,))
            if size.isupper()
            else Dim(Poly.of(size if size == "batch" else f"{name}.{size}"))
            for size in shape
        )
        rank = self.rank_of(self.root, name) if name not in library.VECTORS else None
        value = Tensor(dims) if rank in (None, len(dims)) else self.sizeless(rank or 0)
        return self.maybe(value, default is not None)

    def maybe(self, value: Any, optional: bool = True) -> Any:
        """``value``, marked as one that may be None."""
        if optional:
            self.optional[id(value)] = value
        return value

    def of_its_name(self, name: str, value: Any) -> Any:
        """What a module within the model is given by a name that tells the rank."""
        rank = library.BLOCK_RANKS.get(name)
        if rank is None or not isinstance(value, Tensor) or value.dims is not None or len(value.tail) > rank:
            return value
        found = self.of_rank(value, rank)
        found.origins = value.origins
        return self.maybe(found, id(value) in self.optional)

    def rank_of(self, owner: Instance, name: str) -> int | None:
        """The rank of a forward parameter where the source shows it: how it is unpacked, what takes it first, what
        the docstring says."""
        forward = self.method_of(owner.cls, "forward")
        unpacked, calls = _shape_uses(forward)
        for value, count in unpacked:
            if value in (f"{name}.shape", f"{name}.size()"):
                return count
        for node in calls:
            if getattr(node.args[0], "id", None) == name:
                taker = owner.attributes.get(getattr(node.func, "attr", ""))
                if isinstance(taker, Leaf) and (kind := taker.cls.rpartition(".")[2]) in (*library.RANKS, "Linear"):
                    return library.RANKS.get(kind)
                for item in taker.items if isinstance(taker, Either) else [taker]:
                    taken = parameters(self.method_of(item.cls, "forward")) if isinstance(item, Instance) else ()
                    if isinstance(item, Instance) and len(taken) > 1 and (rank := self.rank_of(item, taken[1][0])):
                        return rank
        return _said(forward, name)

    def origins_of(self, name: str) -> frozenset[str]:
        """What a parameter of the root comes from; its number per sample may be several, if the forward asks."""
        if library.INPUTS.get(name) != ("batch",):
            return frozenset({name})
        counted = (f"{name}.ndim", f"{name}.dim()")
        several = any(
            isinstance(node, ast.Compare)
            and text(node.left) in counted
            and isinstance(node.ops[0], ast.Eq)
            and getattr(node.comparators[0], "value", 1) not in (0, 1)
            for node in each_node(self.method_of(self.root.cls, "forward"))
        )
        return frozenset({name, library.ROWS} if several else {name})


@functools.lru_cache(maxsize=500)
def _shape_uses(function: ast.FunctionDef) -> tuple[list[tuple[str, int]], list[ast.Call]]:
    """What is unpacked into so many names, and the calls with positional arguments."""
    unpacked: list[tuple[str, int]] = []
    calls: list[ast.Call] = []
    for node in each_node(function):
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Tuple):
            if not any(isinstance(e, ast.Starred) for e in target.elts):
                unpacked.append((text(node.value), len(target.elts)))
        elif isinstance(node, ast.Call) and node.args:
            calls.append(node)
    return unpacked, calls


@functools.lru_cache(maxsize=500)
def _said(function: ast.FunctionDef, name: str) -> int | None:
    """The rank of a parameter that the docstring gives the shape of."""
    said = re.search(rf"\b{name} \([^)]*?of shape `?\(([^)]*)\)", ast.get_docstring(function) or "")
    return len([size for size in said[1].split(",") if size.strip()]) if said else None  # "(length,)" is one size


@functools.lru_cache(maxsize=500)
def parameters(function: ast.FunctionDef) -> tuple[tuple[str, ast.expr | None, str], ...]:
    """Name, default and annotation of each parameter; the defaults of keyword-only ones included."""
    args = function.args
    spec: list[tuple[str, ast.expr | None, str]] = []
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    for arg, default in zip(positional, [*defaults, *args.defaults], strict=True):
        spec.append((arg.arg, default, text(arg.annotation) if arg.annotation else ""))
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        spec.append((arg.arg, default, text(arg.annotation) if arg.annotation else ""))
    return tuple(spec)
