"""Transfer rules for tensors of unknown rank: what is known of their last dimensions stays known."""

from __future__ import annotations

from typing import Any

from omniport.analyse import library
from omniport.analyse.convs import ConvOps
from omniport.analyse.reshape import in_front
from omniport.analyse.shapes import Const, Num, Opaque, Seq, Tensor

#: Operations that are given one dimension, or none for the first; with the position of that argument.
_ALONG = {"chunk": 1, "split": 1, "split_with_sizes": 1, "unflatten": 0, "unsqueeze": 0, "squeeze": 0}


class OpenOps(ConvOps):
    """The rules."""

    def join_open(self, a: Tensor, b: Tensor) -> Tensor:
        """One of two values, at least one of unknown rank or both of different rank."""
        self.barrier((*a.streams, *b.streams), "a value whose rank depends on a condition")
        ranks = {len(x.dims) for x in (a, b) if x.dims is not None}
        if len(ranks) == 1 and all(len(x.tail) <= min(ranks) for x in (a, b)):
            a, b = (self.of_rank(x, min(ranks)) for x in (a, b))
            return Tensor(tuple(self.meet(x, y) for x, y in zip(a.known, b.known, strict=True)))
        count = min(len(a.known), len(b.known))
        for x in (a, b):
            self.demand(x.known[: len(x.known) - count], "a value whose rank depends on a condition")
        pairs = zip(a.known[len(a.known) - count :], b.known[len(b.known) - count :], strict=True)
        return Tensor(None, tuple(self.meet(x, y) for x, y in pairs))

    def last_axis(self, x: Tensor, dim: Any) -> Any:
        """``dim`` counted from the last dimension, None if it is not known to be one of the known ones.

        A positive one is the last where only the last is known: what cuts a width into parts or heads cuts it there.
        """
        if not isinstance(dim, Num) or dim.poly.constant is None:
            return None
        at = int(dim.poly.constant)
        if at >= 1 and len(x.tail) == 1 and x.tail[0].parts:
            for key in sorted(x.sources) if at == 1 else ():
                self.facts.linears[key].vector = True  # its features are dimension 1
            return Num(type(dim.poly).of(-1))
        return dim if -len(x.tail) <= at < 0 else None

    def reopened(self, value: Any) -> Any:
        """What was computed on the known dimensions alone, as tensors of unknown rank."""
        if isinstance(value, Tensor) and value.dims is not None:
            return Tensor(None, value.dims)
        if isinstance(value, Seq):
            return Seq([self.reopened(item) for item in value.items], value.many)
        return value

    def open_call(self, name: str, x: Tensor, args: list[Any], kwargs: dict[str, Any], node: Any) -> Any:
        """A tensor operation on a tensor of unknown rank, ``NotImplemented`` where the known dimensions do not help."""
        if name in library.ELEMENTWISE:
            self.counted([*args, *kwargs.values()], f"{name} is given")
            cast = name in ("to", "type", "type_as", "zeros_like", "ones_like")
            return self.combine([x] if cast else [x, *args, *kwargs.values()])
        if name == "size" and args:
            return (
                Num(self.size_read(x.tail[int(at.poly.constant)]))
                if (at := self.last_axis(x, args[0])) is not None
                else Opaque(f"size of {x.serial}")
            )
        if not x.tail:
            return NotImplemented
        if name in _ALONG:
            place = _ALONG[name]
            given = kwargs.get("dim", args[place] if len(args) > place else None)
            at = self.last_axis(x, given)
            if at is None or (name == "unsqueeze" and at.poly.constant < -len(x.tail)):
                return NotImplemented
            rest = [*args[:place], at, *args[place + 1 :]] if "dim" not in kwargs else args
            named = {**kwargs, "dim": at} if "dim" in kwargs else kwargs
            return self.reopened(self.closed_call(name, Tensor(x.tail), rest, named, node))
        if name in ("view", "reshape"):
            sizes = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            return self.open_view(x, sizes)
        if name == "flatten" and len(args) == 1 and self.last_axis(x, args[0]) is not None:
            return self.reopened(self.closed_call(name, Tensor(x.tail), args, kwargs, node))
        if name in library.REDUCTIONS:
            over = kwargs.get("dim", args[0] if args else None)
            if isinstance(over, Num) and self.last_axis(x, over) is not None:
                return self.reopened(self.closed_call(name, Tensor(x.tail), args, kwargs, node))
        if name in ("transpose",) and len(args) == 2 and all(self.last_axis(x, at) is not None for at in args):
            return self.reopened(self.closed_call(name, Tensor(x.tail), args, kwargs, node))
        return NotImplemented

    def open_view(self, x: Tensor, sizes: list[Any]) -> Any:
        """``view`` that keeps the last dimension or cuts it in two: the number of sizes is the rank of the result."""
        sizes = in_front(sizes)
        if not sizes or any(not isinstance(size, Num) for size in sizes) or len(sizes) < 2:
            return NotImplemented
        last, width = x.tail[-1], self.held(x.tail[-1])
        end = sizes[-1].poly
        if self.equal(end, width):
            return Tensor((*(self.sizeless(len(sizes) - 1).dims or ()), last))
        heads = self.heads(last, sizes[-2].poly, end) if sizes[-2].poly.constant != -1 and end.constant != -1 else None
        if heads is None:
            return NotImplemented
        pair = self.unflatten(Tensor((last,)), 0, sizes[-2:]).dims or ()
        return Tensor((*(self.sizeless(len(sizes)).dims or ())[:-2], *pair))

    def open_index(self, x: Tensor, items: list[Any]) -> Any:
        """``x[:, None]``, ``x[..., :n]``: new axes in front of the known dimensions, cuts of the known ones."""
        if ... in items:
            back = items[items.index(...) + 1 :]
            if items.index(...) == 0 and len(back) <= len(x.tail) and x.tail:
                return self.reopened(self.index(Tensor(x.tail), [..., *back]))
            return NotImplemented
        new = [item for item in items if isinstance(item, Const) and item.value is None]
        whole = all(item == (None, None) for item in items if item not in new)
        if x.tail and new and whole and len(items) - len(new) >= 1:
            ends_new = isinstance(items[-1], Const)
            if ends_new and len(items) - len(new) == 1 and len(x.tail) == 1:
                return Tensor(None, x.tail)  # [batch, channels] -> [batch, 1, channels]
            if not ends_new:
                return Tensor(None, x.tail[-1:])
        return NotImplemented

    closed_call: Any
    size_read: Any
