"""What each tensor operation means, as method or as function of its first argument."""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Expressions, text
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.reshape import in_front
from omniport.analyse.shapes import Const, Dim, Num, Opaque, Seq, Tensor

ZERO, LAST = Num(Poly.of(0)), Num(Poly.of(-1))


def _unmeasured(dim: Dim) -> bool:
    """Whether a dimension has a length of its own that nothing is known of."""
    return any(atom.startswith("size ") and dim.size == Poly.of(atom) for atom in dim.size.atoms)


class TensorCalls(Expressions):
    """Evaluates tensor operations."""

    def tensor_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """A tensor operation, as method or as function of its first argument."""
        if isinstance(x, Tensor) and x.dims is None:
            found = self.open_call(name, x, args, kwargs, node)
            if found is not NotImplemented:
                return found
        return self.closed_call(name, x, args, kwargs, node)

    def closed_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """A tensor operation on a tensor of known rank, or one that its rank says nothing about."""
        dim = kwargs.get("dim", args[-1] if args else ZERO)
        if name in ("cat", "concat"):
            return self.cat(x, kwargs.get("dim", args[0] if args else ZERO))
        if name == "stack" and isinstance(x, Seq) and not x.many:
            return self.stack(x, kwargs.get("dim", args[0] if args else ZERO))
        if name == "expand" and isinstance(x, Tensor):
            sizes_to = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            if len(sizes_to) >= len(x.known) and (mask := self.expanded_to_heads(x, sizes_to)) is not None:
                return mask
        if not isinstance(x, Tensor) or x.dims is None:
            if name in ("stack", "unbind") or not isinstance(x, Tensor):
                return self.unknown_rank(name, x, args, kwargs)
            given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            if name in ("view", "reshape"):
                return self.view(x, given)
            fixed = len(given) if name == "permute" and not any(isinstance(a, Seq | Opaque) for a in given) else None
            self.counted([*args, *kwargs.values()], f"{name} is given")
            return self.unknown([x, *args, *kwargs.values()], name, fixed)
        rank = len(x.dims)
        if name in ("matmul", "bmm") and len(args) == 1:
            return self.matmul(x, args[0])
        if name == "pad" and args and isinstance(args[0], Seq) and not args[0].many and len(args[0].items) <= 2 * rank:
            return self.pad(x, args[0].items)
        if name == "repeat_interleave" and args and isinstance(args[0], Num):
            at = self.axis(x, kwargs.get("dim", args[1] if len(args) > 1 else None))
            if at is not None:
                return self.repeated(x, at, args[0].poly)
        if name == "repeat" and len(sizes := in_front(args)) == rank and all(isinstance(a, Num) for a in sizes):
            result: Tensor = x
            for at, count in enumerate(sizes):
                result = self.repeated(result, at, count.poly)
            return result
        if name in ("rms_norm", "layer_norm") and args and isinstance(args[0], Seq) and len(args[0].items) == 1:
            self.demand((*x.dims[-1:], *tensors_in([*args, *kwargs.values()])), f"{name} runs over the full width")
            self.barrier(x.dims[-1].streams, f"{name} runs over the tokens")
            return Tensor(x.dims)
        if name in library.ELEMENTWISE:
            self.counted([*args, *kwargs.values()], f"{name} is given")
            cast = name in ("to", "type", "type_as", "zeros_like", "ones_like")
            return self.combine([x] if cast else [x, *args, *kwargs.values()])
        if name == "size":
            shape = [Num(self.size_read(dim)) for dim in x.dims]
            at = self.axis(x, args[0]) if args else None
            return Seq(shape) if not args else shape[at] if at is not None else Opaque(text(node))
        if name in ("view_as_complex", "view_as_real"):
            return Tensor(x.dims[:-1] if name == "view_as_complex" else (*x.dims, Dim(Poly.of(2))))
        if name == "dim":
            return Num(Poly.of(rank))
        if name == "chunk":
            count = args[0] if args else kwargs.get("chunks")
            return self.chunk(x, count, kwargs.get("dim", args[1] if len(args) > 1 else ZERO))
        if name in ("split", "split_with_sizes") and args and isinstance(args[0], Seq):
            at = self.axis(x, kwargs.get("dim", args[1] if len(args) > 1 else ZERO))
            sizes = [item.poly for item in args[0].items if isinstance(item, Num)]
            if at is not None and len(sizes) == len(args[0].items):
                return self.split(x, sizes, at, explicit=True)
        sizes_given: list[Any] = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
        if (
            name == "unflatten"
            and len(args) == 2
            and isinstance(args[1], Seq)
            and (at := self.axis(x, args[0])) is not None
        ):
            return self.unflatten(x, at, args[1].items)
        if name in ("view", "reshape"):
            return self.view(x, sizes_given)
        if name == "flatten":
            start = self.axis(x, kwargs.get("start_dim", args[0] if args else ZERO))
            stop = self.axis(x, kwargs.get("end_dim", args[1] if len(args) > 1 else LAST))
            if start is not None and stop is not None:
                return self.flatten(x, start, stop)
        if name in library.REDUCTIONS and (over := kwargs.get("dim", args[0] if args else None)) is not None:
            along = self.axis(x, over)
            if along is not None:
                return self.reduce(x, along, name, keep=self.truth(kwargs.get("keepdim", Const(False)), node) is True)
        if name == "unsqueeze" and isinstance(dim, Num) and dim.poly.constant is not None:
            at = int(dim.poly.constant)
            at = at + rank + 1 if at < 0 else at
            return Tensor((*x.dims[:at], Dim(Poly.of(1)), *x.dims[at:]))
        if name == "squeeze" and (at := self.axis(x, dim)) is not None and args:
            if 0 < at < rank - 1 and _unmeasured(x.dims[at]):
                return x  # an axis of any length is taken to be longer than one, as in every run that is not an edge
            return Tensor((*x.dims[:at], *x.dims[at + 1 :]))
        if name in ("transpose", "permute"):
            order = [self.axis(x, item) for item in sizes_given]
            if name == "transpose" and len(order) == 2 and None not in order:
                swapped: list[int | None] = list(range(rank))
                swapped[order[0] or 0], swapped[order[1] or 0] = order[1], order[0]
                order = swapped
            if len(order) == rank and None not in order:
                return Tensor(tuple(x.dims[at] for at in order if at is not None))
        return self.unknown_rank(name, x, args, kwargs)

    def unknown_rank(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """An operation without a rule whose result has a rank that is known all the same."""
        values = [x, *args, *kwargs.values()]
        self.counted([*args, *kwargs.values()], f"{name} is given")
        first = x.items[0] if isinstance(x, Seq) and x.items else x
        rank = len(first.dims) if isinstance(first, Tensor) and first.dims else None
        if name == "unbind" and rank is not None and isinstance(x, Tensor) and x.dims is not None:
            at = self.axis(x, kwargs.get("dim", args[0] if args else ZERO))
            size = x.dims[at].size.constant if at is not None else None
            if at is not None and size is not None and size == int(size):
                self.demand(x.dims[at : at + 1], "is cut across its shards")
                return Seq([Tensor((*x.dims[:at], *x.dims[at + 1 :])) for _ in range(int(size))])
        if name in ("split", "tensor_split", "chunk", "unbind"):
            return Seq([self.unknown(values, name, None if rank is None else rank - (name == "unbind"))], many=True)
        if rank is not None and name in library.SAME_RANK:
            return self.unknown(values, name, rank)
        if name in ("outer", "stack") and rank is not None:
            return self.unknown(values, name, rank + 1)
        if name in ("repeat", "expand", "broadcast_to") and args:
            given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            plain = all(isinstance(item, Num | Opaque) for item in given) and len(given) > 1
            return self.unknown(values, name, len(given) if plain else None)
        return self.unknown(values, name)
