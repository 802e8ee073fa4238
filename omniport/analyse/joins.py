"""What holds of a value that comes over several paths."""

from __future__ import annotations

from typing import Any

from omniport.analyse.entry import Entry
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import (
    Const,
    Either,
    Function,
    Instance,
    Leaf,
    Modules,
    Num,
    Opaque,
    Seq,
    Tensor,
    modules_in,
    same,
)


class Joins(Entry):
    """Joins the values of the two paths of a condition, of the rounds of a loop, and of several returns."""

    def joined(self, returned: list[Any]) -> Any:
        """What holds of all that a function may return."""
        result = returned[0] if returned else Const(None)
        for other in returned[1:]:
            result = self.join(result, other)
        return result

    def join(self, a: Any, b: Any) -> Any:
        """What holds on both paths; it may be None if one of them may."""
        if a is b:
            return a
        joined = self.join_known(a, b)
        for tensor in [joined] if isinstance(joined, Tensor) and joined.origins is None else []:
            origins = [x.origins for x in tensors_in([a, b])]
            tensor.origins = None if None in origins else frozenset(name for x in origins for name in x or ())
        return self.maybe(joined, id(a) in self.optional or id(b) in self.optional)

    def join_known(self, a: Any, b: Any) -> Any:
        if same(a, b):
            return a.alike(a.known) if isinstance(a, Tensor) else a  # one of two values: neither of them
        for one, other in ((a, b), (b, a)):
            if isinstance(one, Const) and one.value is None and not isinstance(other, Const):
                copy = other.alike(other.known) if isinstance(other, Tensor) else other
                return self.maybe(copy, not isinstance(other, Opaque | Num))
        if isinstance(a, Seq) and isinstance(b, Seq) and len(a.items) == len(b.items):
            return Seq([self.join(x, y) for x, y in zip(a.items, b.items, strict=True)], a.many or b.many)
        if isinstance(a, Seq) and isinstance(b, Seq) and not (a.items and b.items):
            return Seq(a.items or b.items, True)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.dims is not None and b.dims is not None and len(a.dims) == len(b.dims):
                return Tensor(tuple(self.meet(x, y) for x, y in zip(a.dims, b.dims, strict=True)))
            return self.join_open(a, b)
        choices = [item for value in (a, b) for item in (value.items if isinstance(value, Either) else [value])]
        if all(isinstance(item, Instance | Leaf | Modules) for item in choices):
            return Either(list({id(item): item for item in choices}.values()))
        if isinstance(a, Tensor | Seq) or isinstance(b, Tensor | Seq):
            return self.unknown((a, b), "a value whose kind depends on a condition")
        if isinstance(a, Num) and isinstance(b, Num):
            self.facts.choices[either := f"{a.poly} or {b.poly}"] = (a.poly, b.poly)
            return Num(Poly.of(either))
        if isinstance(a, Function | Opaque | Num | Const) and isinstance(b, Function | Opaque | Num | Const):
            return (
                Function("|".join(f.name for f in (a, b) if isinstance(f, Function)))
                if isinstance(a, Function) and isinstance(b, Function)
                else Opaque("either")
            )
        modules = [*modules_in(a), *modules_in(b)]
        if modules and not self.building:
            raise self.unsupported("a module that depends on a condition")
        return Opaque("either")
