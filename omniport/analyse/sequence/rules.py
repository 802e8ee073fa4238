"""What operations do to token axes, beyond the rules that sharding by width needs.

Widths are whole here.  A stream may turn out to be several others, one behind the other: tables of rotary angles are
computed for all tokens at once, and meet those of each stream where the blocks put them together.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Env, text
from omniport.analyse.facts import UnfitError
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.paths import PathRules
from omniport.analyse.shapes import Closure, Const, Dim, Leaf, Num, Opaque, Seq, Tensor

BATCH = Poly.of("batch")
_ROTARY = library.ROTARY.keys() | library.ROTARY_OF_ALL_HEADS.keys()


class TokenRules(PathRules):
    """The rules."""

    makeup: dict[str, tuple[str, ...]]  # a stream that is several others, one behind the other
    settled: set[str]  # axes that turn out to be the batch, or a width
    unclear: dict[int, str]
    opened: set[str]  # axes of values that, with more axes than guessed, have entries where one is taken for granted
    rotating: bool  # within a rotary function: rows of its tables are those of the tokens
    operations: int  # calls of tensor operations that were followed
    missed: Callable[..., str | None]
    same_doubt: Callable[[Any, Any], None]
    width: Callable[[Poly], bool]
    blocks: Callable[[tuple[str, ...]], bool]
    border: Callable[[str, Poly, Poly], None]

    def demand(self, values: Iterable[Tensor | Dim], reason: str) -> None:
        """Everything is whole as it is."""

    def made_of(self, streams: tuple[str, ...]) -> tuple[str, ...]:
        """Streams by representative, those that are several one behind the other spelled out."""
        found: list[str] = []
        for name in streams:
            name = self.facts.stream(name)
            found += self.made_of(self.makeup[name]) if name in self.makeup else [name]
        return tuple(found)

    def in_step(self, a: tuple[str, ...], b: tuple[str, ...]) -> None:
        a, b = self.made_of(a), self.made_of(b)
        swapped = len(a) > 1 and any(x != y and (x in b or y in a) for x, y in zip(a, b, strict=False))
        if len(a) == len(b) and not swapped:
            for x, y in zip(a, b, strict=True):
                self.facts.same(x, y)
        elif len(a) == 1 and a[0] not in b:
            self.makeup[a[0]] = b
        elif len(b) == 1 and b[0] not in a:
            self.makeup[b[0]] = a
        else:
            self.barrier(a + b, "token axes of different make-up meet")

    def meet(self, a: Dim, b: Dim, *, last: bool = True) -> Dim:
        """The batch and widths are no token axes: what meets one of them is of that size."""
        met = super().meet(a, b, last=last)
        for one, other in ((a, b), (b, a)):
            if other.streams and not one.streams and not one.one and (one.size == BATCH or self.width(one.size)):
                self.settled.update(self.made_of(other.streams) if one.size.constant is None else ())
                return Dim(one.size)
        return met

    def canonical(self, size: Poly) -> Poly:
        """``size`` with lengths named by the streams that they are made of."""
        lengths = [atom[4:-1] for atom in size.atoms if atom.startswith("len(")]
        if all(self.made_of((name,)) == (name,) for name in lengths):
            return size
        result = Poly.of(0)
        for monomial, factor in size.terms:
            term = Poly((((), factor),))
            for atom in monomial:
                inside = atom[4:-1] if atom.startswith("len(") and atom.endswith(")") else ""
                if inside.isidentifier():
                    length = Poly.of(0)
                    for name in self.made_of((inside,)):
                        length = length + Poly.of(f"len({name})")
                    term = term * length
                else:
                    term = term * Poly.of(atom)
            result = result + term
        return result

    def stretch(self, dim: Dim, low: Poly | None, high: Poly | None) -> Dim:
        """A run of a token axis; bounds may be counted from its end, ``x[:, -text.shape[1] :]``."""
        made = Dim(dim.size, dim.parts, self.made_of(dim.streams))
        total = Poly.of(0)
        for name in made.streams:
            total = total + Poly.of(f"len({name})")
        low, high = (total + end if end is not None and end.negative else end for end in (low, high))
        for end in (low, high):
            if end is not None and len(made.streams) == 1:
                self.border(made.streams[0], end, total - end)
        made = Dim(dim.size, dim.parts, self.made_of(dim.streams))
        return super().stretch(made, low, high)

    def call_function(self, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """Rotary functions are followed like any other: their tables come with and without the batch."""
        last = name.rpartition(".")[2]
        function = (self.functions.get(last) or self.bring(last)) if last in _ROTARY else None
        if isinstance(function, ast.FunctionDef):
            self.missed(args, "table")
            env, self.rotating = self.bind(function, args, kwargs, node), True
            try:
                return self.run_imported(name, function, env, [*args, *kwargs.values()])
            finally:
                self.rotating = False
        sizes = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
        if name in ("torch.ones", "torch.zeros") and sizes and all(isinstance(size, Num) for size in sizes):
            return Tensor(tuple(self.sized(size.poly) for size in sizes))  # one value for all tokens
        if name == "map" and len(args) == 2 and isinstance(args[1], Seq):
            call = ast.copy_location(ast.Call(node.args[0], node.args[1:], []), node)
            return Seq([self.applied(args[0], item, call) for item in args[1].items], args[1].many)
        result = super().call_function(name, args, kwargs, node)
        found = self.bring(name) if isinstance(result, Opaque) and "." not in name else None
        if isinstance(found, ast.FunctionDef):  # what it makes of plain numbers may be a table
            table = found
            return self.attempt(
                lambda: self.run_function(table, self.instance, self.bind(table, args, kwargs, node)), lambda: result
            )
        return result

    def applied(self, function: Any, value: Any, node: ast.Call) -> Any:
        if isinstance(function, Closure):
            bound = self.bind(function.function, [value], {}, node)
            return self.run_function(function.function, self.instance, {**function.env, **bound})
        raise self.unsupported(f"call {text(node)}", node)

    def eval_compare(self, node: ast.Compare, env: Env) -> Any:
        """``count > 0``: a rank holds some tokens of a stream if there are any."""
        zero = getattr(node.comparators[0], "value", None) == 0 and isinstance(node.ops[0], ast.Gt | ast.Eq | ast.NotEq)
        count = self.eval(node.left, env) if zero and isinstance(node.left, ast.Name) else None
        if isinstance(count, Num):
            size = self.canonical(count.poly)
            if self.sized(size).streams:
                return Opaque(text(node))
            for atom in sorted(size.atoms):
                if atom.startswith("len("):
                    self.border(atom[4:-1], size, Poly.of(atom) - size)
        return super().eval_compare(node, env)

    def eval_binop(self, node: ast.BinOp, env: Env) -> Any:
        if isinstance(node.op, ast.MatMult):
            return self.product(self.eval(node.left, env), self.eval(node.right, env))
        if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List):
            made, times = self.eval(node.left, env), getattr(node.right, "value", None)
            if isinstance(made, Seq) and isinstance(times, int):
                return Seq(made.items * times, made.many)
        return super().eval_binop(node, env)

    def product(self, a: Any, b: Any) -> Tensor:
        """A matrix product: rows of one and columns of the other stay, what is summed over is no token axis."""
        left, right = (x.dims if isinstance(x, Tensor) else None for x in (a, b))
        if left is None or right is None or len(left) < 2 or len(right) < 2:
            return self.unknown((a, b), "a matrix product")
        self.barrier((*left[-1].streams, *right[-2].streams), "a matrix product sums over the tokens")
        front: tuple[Dim, ...] = self.combine([Tensor(left[:-2]), Tensor(right[:-2])]).dims or ()
        return Tensor((*front, left[-2], right[-1]))

    def conv(self, leaf: Leaf, x: Any) -> None:
        """Every convolution is whole, too."""

    def linear(self, leaf: Leaf, x: Any) -> Tensor:
        """Every linear is whole: widths are another walk's matter."""
        width = leaf.argument(1, "out_features")
        size = width.poly if isinstance(width, Num) else Poly.of(f"{leaf.path} width")
        if not isinstance(x, Tensor):
            return self.unknown((x,), "a linear layer of unknown size")
        if x.dims is None and leaf.key[0] in self.attending and x.serial not in self.unclear and len(x.tail) < 4:
            x = self.assumed.setdefault(x.serial, self.of_rank(x, 3))
        if x.dims == ():
            return self.unknown((x,), leaf.path)
        features = self.made_of(tuple(s for dim in x.known[-1:] for s in dim.streams))
        self.settled.update(features)
        self.barrier(features, f"{leaf.path} computes with tokens as features")
        result: Tensor = x.alike((*x.known[:-1], Dim(size)))
        self.same_doubt(x, result)
        return result

    def tensor_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        result = self.token_call(name, x, args, kwargs, node)
        self.operations += 1
        self.same_doubt(x, result)
        return result

    def token_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        """Operations that leave the token axis alone."""
        if name in ("view", "reshape") and isinstance(x, Tensor) and x.dims is None:
            self.missed([x])
        if name in ("cat", "concat") and isinstance(x, Seq) and Const(None) in x.items:
            origin = self.normal.origin(node.lineno)
            raise UnfitError(f"nothing is given for one of {text(node)}", origin.file, origin.line)
        dims = x.dims if isinstance(x, Tensor) else None
        if isinstance(x, Tensor) and name in ("to", "type_as"):
            result = self.combine([x])
            result.origins = x.origins  # the other tensor gives its type alone
            return result
        if isinstance(x, Tensor) and name == "lerp":
            return self.combine([x, *args, *kwargs.values()])
        if isinstance(x, Tensor) and name.endswith("_") and name[:-1] in library.ELEMENTWISE:
            self.combine([x, *args, *kwargs.values()])
            return x
        if dims is not None and name in ("layer_norm", "rms_norm"):
            self.barrier(dims[-1].streams, f"{name} normalises over the tokens")
            return x.alike(dims)
        if dims is not None and name == "repeat_interleave" and args:
            at = self.axis(x, kwargs.get("dim", args[1] if len(args) > 1 else None))
            if at is not None and not dims[at].streams and isinstance(args[0], Num | Opaque):
                times = args[0].poly if isinstance(args[0], Num) else Poly.of(args[0].text)
                return x.with_dim(at, Dim(dims[at].size * times))
        if dims is not None and name == "index_select" and len(args) > 1 and isinstance(args[1], Tensor):
            at = self.axis(x, args[0])
            if at is not None and args[1].dims is not None and len(args[1].dims) == 1 and not dims[at].streams:
                return x.with_dim(at, args[1].dims[0])
        if dims is not None and name in ("repeat", "expand"):
            given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            if len(given) >= len(dims) and all(isinstance(item, Num | Opaque) for item in given):
                return self.spread(dims, given, times=name == "repeat")
        if dims is not None and name in ("view", "reshape"):
            given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            given = kwargs["shape"].items if not given and isinstance(kwargs.get("shape"), Seq) else given
            if given and all(isinstance(size, Num) for size in given):
                kept = self.keeping(dims, [size.poly for size in given])
                if kept is not None:
                    return kept
        if dims is not None and name == "squeeze" and args:
            at = self.axis(x, args[0])
            if at is not None and self.blocks(dims[at].streams):  # of a single token, which are not shared out
                self.barrier(dims[at].streams if self.instance is self.root else (), "drops the axis of a single token")
                return x.alike(dims)
        if dims is not None and name == "flip" and args:
            given = args[0].items if isinstance(args[0], Seq) else args
            axes = [self.axis(x, item) for item in given]
            if not any(at is None or dims[at].streams for at in axes):
                return self.combine([x])
        if dims is not None and name in ("new_ones", "new_zeros"):
            given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
            if given and all(isinstance(size, Num) for size in given):
                return Tensor(tuple(self.sized(size.poly) for size in given))
        if dims is not None and name == "unbind":
            at = self.axis(x, kwargs.get("dim", args[0] if args else Num(Poly.of(0))))
            if at is not None and not dims[at].streams and dims[at].size.constant is None:
                return Seq([Tensor((*dims[:at], *dims[at + 1 :]))], True)
        if name == "unflatten" and dims is not None and len(args) == 2 and isinstance(args[1], Seq):
            at = self.axis(x, args[0])
            if at is not None and not dims[at].streams and all(isinstance(size, Num) for size in args[1].items):
                sizes = tuple(Dim(self.rest(size.poly)) for size in args[1].items)
                return Tensor((*dims[:at], *sizes, *dims[at + 1 :]))
        return super().tensor_call(name, x, args, kwargs, node)

    def rest(self, size: Poly) -> Poly:
        """A size that is given, or that is left for PyTorch to work out."""
        return size if size.constant != -1 else Poly.of(f"rest@{self.line}")

    def spread(self, dims: tuple[Dim, ...], given: list[Any], *, times: bool) -> Tensor:
        """``repeat`` (``times``) or ``expand``: axes that are repeated are no tokens, or are new."""
        added = len(given) - len(dims)
        made = []
        for at, item in enumerate(given):
            dim = dims[at - added] if at >= added else Dim(Poly.of(1))
            count = item.poly.constant if isinstance(item, Num) else None
            same = count in ((1,) if times else (-1,)) or (
                not times and isinstance(item, Num) and self.equal(item.poly, dim.size)
            )
            if same:
                made.append(dim)
                continue
            self.barrier(dim.streams, "repeats the tokens")
            size = item.poly if isinstance(item, Num) else Poly.of(f"size {at} at line {self.line}")
            made.append(self.sized(dim.size * size if times else size))
        return Tensor(tuple(made))

    def sized(self, size: Poly) -> Dim:
        """A new axis: it is one of tokens if its size counts tokens."""
        if size == BATCH:
            return Dim(BATCH)
        atoms = sorted(size.atoms)
        streams = tuple(name for atom in atoms if (name := atom[4:-1]).isidentifier() and atom == f"len({name})")
        whole = Poly.of(0)
        for name in streams:
            whole = whole + Poly.of(f"len({name})")
        return Dim(size, (), streams if streams and self.equal(whole, size) else ())

    def keeping(self, dims: tuple[Dim, ...], sizes: list[Poly]) -> Tensor | None:
        """A reshape that cuts or joins widths only: every token axis is found again, in front or at the end."""
        front = 0
        while front < min(len(dims), len(sizes)) and self.is_size(dims[front], sizes[front]):
            front += 1
        back = 0
        while back < min(len(dims), len(sizes)) - front and self.equal(sizes[-1 - back], dims[-1 - back].size):
            back += 1
        old, new = dims[front : len(dims) - back], sizes[front : len(sizes) - back]
        if not old and any(size.constant == -1 for size in new):
            self.opened.update(self.guessed(dims))
        if any(dim.streams for dim in old):
            free = [at for at, size in enumerate(new) if size.constant == -1]
            tokens = [at for at, dim in enumerate(old) if dim.streams]
            if len(old) == len(free) == 1 and all(size.constant in (1, -1) for size in new):
                axes = (old[0] if size.constant == -1 else Dim(size) for size in new)
                return Tensor((*dims[:front], *axes, *dims[len(dims) - back :]))
            if not free and (placed := self.placed_among_ones(old, new)) is not None:
                return Tensor((*dims[:front], *placed, *dims[len(dims) - back :]))
            # view(B, -1, heads, width): the free size is that of the tokens if the widths behind make up the rest.
            if len(free) != 1 or tokens != free or free[0] != 0:
                return None
            product, given = Poly.of(1), Poly.of(1)
            for dim in old[1:]:
                product = product * dim.size
            for size in new[1:]:
                given = given * size
            if not self.equal(product, given):
                return None
            return Tensor((*dims[: front + 1], *(Dim(size) for size in new[1:]), *dims[len(dims) - back :]))
        made = tuple(Dim(self.rest(size)) for size in new)
        if len(old) == len(new) == 1:
            made = old
        elif sum(size.constant == -1 for size in new) == 1:
            made = tuple(self.worked_out(old, new))
        return Tensor((*dims[:front], *made, *dims[len(dims) - back :]))

    def guessed(self, dims: tuple[Dim, ...]) -> set[str]:
        """Those of the axes that come from values whose number of axes is a guess."""
        streams = {name for dim in dims for name in self.made_of(dim.streams)}
        axes = (dim for seed in self.record.seeds if seed.guessed for dim in seed.tensor.dims or ())
        return streams & {name for dim in axes for name in self.made_of(dim.streams)}

    def is_size(self, dim: Dim, size: Poly) -> bool:
        """Whether ``dim`` has that size; rotary functions give tokens the length of their table."""
        rows = self.sized(size).streams if self.rotating and dim.streams and size != dim.size else ()
        if len(rows) == len(dim.streams) == 1:
            self.in_step(rows, dim.streams)
        return self.equal(size, dim.size)

    def placed_among_ones(self, old: tuple[Dim, ...], new: list[Poly]) -> list[Dim] | None:
        """``table.view(1, length, 1, width)``: each axis of the table is one of the sizes that are not one."""
        rest = list(old)
        if len(rest) != sum(size != Poly.of(1) for size in new):
            return None
        made = []
        for size in new:
            given = self.sized(size)
            if size == Poly.of(1):
                made.append(Dim(size))
                continue
            axis = rest.pop(0)
            if axis.streams and given.streams:
                self.in_step(axis.streams, given.streams)
            made.append(given if given.streams else axis)
        return made

    def call_list_method(self, owner: Seq, name: str, args: list[Any], node: ast.Call) -> Any:
        """Nothing can be taken from an empty list: the program does not come here before something was put in."""
        if name == "pop" and not owner.items:
            origin = self.normal.origin(node.lineno)
            raise UnfitError(f"nothing is in {text(node)}", origin.file, origin.line)
        return super().call_list_method(owner, name, args, node)

    def worked_out(self, old: tuple[Dim, ...], new: list[Poly]) -> list[Dim]:
        """Sizes with the free one computed, where the division is exact."""
        product = Poly.of(1)
        for dim in old:
            product = product * dim.size
        for size in new:
            divided = product.divide(size) if size.constant != -1 else product
            product = divided if divided is not None else Poly.of(f"rest@{self.line}")
        return [Dim(size if size.constant != -1 else product) for size in new]
