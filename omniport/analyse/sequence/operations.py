"""Operations on tokens that are told by the values they meet: lengths that are one, ranks that are not known."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Env, text
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.rules import TokenRules
from omniport.analyse.shapes import Dim, Num, Opaque, Seq, Tensor

_LENGTH = re.compile(r"len\((\w+)\)")
_UNNAMED = re.compile(r"size \d+ at line \d+(?!\d|\.)")


class OperationRules(TokenRules):
    """The rules."""

    sizes: dict[Poly, tuple[str, ...]]  # sizes before the boundary, and the axes that have them
    sized_at: dict[int, int]
    asked: set[str]  # axes of values whose number of axes the program asks for
    loops: int
    missed: Callable[..., str | None]

    def token_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        if isinstance(x, Tensor) and x.dims is not None and name in library.POINTWISE:
            return self.combine([x, *args, *kwargs.values()])
        if name == "outer" and isinstance(x, Tensor) and len(x.dims or ()) == 1 and args:
            second = self.of_rank(args[0], 1) if isinstance(args[0], Tensor) else self.sizeless(1)
            return Tensor((x.known[0], second.known[-1]))  # it takes vectors only
        if name in library.OTHER_NAMES:  # NumPy's
            name, kwargs = library.OTHER_NAMES[name], {"dim" if k == "axis" else k: v for k, v in kwargs.items()}
        if name in ("all", "any") and isinstance(x, Tensor) and not args and "dim" not in kwargs:
            self.barrier(x.streams, f"{name} asks all tokens at once")
            return Tensor(())
        if name == "squeeze" and isinstance(x, Tensor) and x.dims is not None and args:
            at = self.axis(x, args[0])
            size = x.dims[at].size if at is not None else Poly.of(1)
            if at is not None and size.atoms and not x.dims[at].streams and self.width(size):
                return self.combine([x])  # an axis that is not of one entry stays
        sizes = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
        if name in ("new_zeros", "new_ones", "new_full") and len(sizes) > 1 and isinstance(x, Tensor):
            return self.filled_alike(sizes)
        return super().token_call(name, x, args, kwargs, node)

    def filled_alike(self, sizes: list[Any]) -> Tensor:
        """One value everywhere; sizes that only run time knows have a name of their own."""
        place = f"line {self.line} of {self.instance.cls}"
        names = (Poly.of(f"given {at} at {place}") for at in range(len(sizes)))
        dims = zip(sizes, names, strict=True)
        return Tensor(tuple(self.sized(size.poly) if isinstance(size, Num) else Dim(name) for size, name in dims))

    def eval_attribute(self, node: ast.Attribute, env: Env) -> Any:
        """A program that asks how many axes a value has takes it with several."""
        if node.attr in ("ndim", "dim") and isinstance(node.value, ast.Name):
            x = env.get(node.value.id)
            self.asked.update(x.streams if isinstance(x, Tensor) else ())
        return super().eval_attribute(node, env)

    def cat(self, parts: Any, dim: Any) -> Tensor:
        """What is joined has one rank; a value that was not known to have it may have rows for tokens, too."""
        items = tensors_in([parts])
        if any(x.dims is not None for x in items):
            self.missed(items)
        return super().cat(parts, dim)

    def stretch(self, dim: Dim, low: Poly | None, high: Poly | None) -> Dim:
        """``table[: x.shape[1]]``: all of a table that is as long as the tokens."""
        for name in self.made_of(dim.streams):
            for bound in (low, high):
                for other in _LENGTH.findall(str(bound)):
                    if self.as_long(name, other):
                        self.in_step((name,), (other,))
        return super().stretch(dim, low, high)

    def call_function(self, name: str, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        if name == "isinstance":
            return Opaque(f"a kind of {text(node.args[0])}")  # true or false, and nothing for each token
        if name in ("set", "frozenset", "sorted") and args and isinstance(args[0], Opaque):
            return args[0]  # names, indices
        given = args[0] if args and name in ("torch.full", "torch.zeros", "torch.ones", "torch.empty") else None
        if isinstance(given, Seq) and given.items and not given.many:
            return self.filled_alike(given.items)
        return super().call_function(name, args, kwargs, node)

    def branch(self, node: ast.If, env: Env) -> bool:
        """``if mask.shape[1] != length: raise``: two axes of one length, which are shared out alike."""
        if all(isinstance(line, ast.Raise) for line in node.body) and not node.orelse:
            test = node.test
            if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.NotEq):
                sides = [self.eval(side, env) for side in (test.left, test.comparators[0])]
                names = [_length(side) for side in sides]
                if all(names):
                    self.in_step((names[0],), (names[1],))
                    return False
        return super().branch(node, env)

    def as_long(self, a: str, b: str) -> bool:
        """Whether two axes are of one length at the boundary, whatever the input."""
        a, b = self.facts.stream(a), self.facts.stream(b)
        for size, axes in self.sizes.items():
            names = {self.facts.stream(axis) for axis in axes}
            if a != b and {a, b} <= names and not _UNNAMED.search(str(size)):
                return True
        return False

    def sizeless(self, rank: int) -> Tensor:
        """Sizes of their own each time, unless the line is walked again and again until nothing changes."""
        made: Tensor = super().sizeless(rank)
        if self.loops:
            return made
        self.sized_at[self.line] = self.sized_at.get(self.line, 0) + 1
        name = f"line {self.line}.{self.sized_at[self.line]}"
        return Tensor(tuple(Dim(Poly.of(f"size {at} at {name}")) for at in range(rank)))


def _length(value: Any) -> str:
    """The axis whose length a number is, "" if it is any other."""
    atoms = tuple(value.poly.atoms) if isinstance(value, Num) else ()
    found = _LENGTH.fullmatch(atoms[0]) if len(atoms) == 1 and value.poly == Poly.of(atoms[0]) else None
    return found[1] if found else ""
