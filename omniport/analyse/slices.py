"""Whole tensors that meet the heads of a rank: the port takes the rank's part of them.

A rotary table over the features of all heads, a scale with an entry for each head: on a rank such a tensor is cut as
the heads are.  Broadcasting proves the cut: a tensor that meets a width has that width, one entry, or fewer dimensions.
"""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse import library
from omniport.analyse.facts import Demand
from omniport.analyse.opened import OpenOps
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import ONE
from omniport.analyse.shapes import Dim, Tensor
from omniport.analyse.syntax import text


class Slices(OpenOps):
    """The rules.  ``active`` are the functions of the reference package that run: nothing in them can be rewritten."""

    active: list[Any]

    def of_rank_too(self, node: ast.BinOp, left: Any, right: Any) -> tuple[Any, Any]:
        """Operands of arithmetic, the whole one cut as the sharded one is where they would not fit otherwise."""
        if not self.rewritable():
            return left, right
        if not isinstance(left, Tensor) or not isinstance(right, Tensor):
            self.uncut("", node.left if isinstance(left, Tensor) else node.right)
            return left, right
        if (dim := self.misfit(left, right)) is not None:
            return left, self.cut(right, left, dim, "", node.right)
        if (dim := self.misfit(right, left)) is not None:
            return self.cut(left, right, dim, "", node.left), right
        for operand in (node.left, node.right):
            self.uncut("", operand)
        return left, right

    def rewritable(self) -> bool:
        """Whether the code that runs is that of a class with attention in the port."""
        return not self.active and self.instance.cls in self.attending and self.instance.cls not in self.imported

    def misfit(self, x: Tensor, other: Tensor) -> int | None:
        """The sharded dimension of ``x``, counted from the last, that does not fit the whole ``other``."""
        sharded = [(at, dim) for at, dim in enumerate(reversed(x.known), 1) if dim.parts]
        if len(sharded) != 1 or other.sources or len(sharded[0][1].parts) != 1:
            return None
        (at, dim), known = sharded[0], other.known
        if len(known) < at:
            unsure = other.dims is None and (at == 1 or self.learned(x, other))
            return -at if unsure else None
        met = known[-at]
        fits = met.one or (at > 1 and not self.equal(met.size, dim.size) and not self.learned(x, other))
        return None if fits else -at

    def cut(self, whole: Tensor, x: Tensor, dim: int, within: str, node: ast.expr) -> Tensor:
        """``whole`` as a rank sees it, which ``node`` stands for."""
        site = (self.instance.cls, within, text(node))
        if site in self.facts.uncut or self.facts.slices.get(site, (dim, 0))[0] != dim:
            raise Demand(x.sources, f"meets {site[2]}, which is also used as a whole", self.line)
        self.facts.slices.setdefault(site, (dim, self.line))
        self.facts.cut_for.setdefault(site, []).append(x)
        known = (*(Dim(ONE),) * (-dim - len(whole.known)), *whole.known)
        behind = (Dim(ONE),) * (-dim - 1)  # of one size with those of x, or one: x says which
        part = whole.alike((*known[:dim], x.known[dim], *behind))
        part.origins = whole.origins
        return part

    def uncut(self, within: str, node: ast.expr) -> None:
        """The value of ``node`` is used as a whole here."""
        site = (self.instance.cls, within, text(node))
        if site in self.facts.slices:
            self.facts.uncut.add(site)
            self.demand(self.facts.cut_for[site], f"meets {site[2]}, which is also used as a whole")
        self.facts.uncut.add(site)

    def rotary_of_all_heads(self, name: str, node: ast.Call, args: list[Any]) -> Tensor | None:
        """A rotation of ``[batch, tokens, features of all heads]``; None if the call is no such one."""
        dim = library.ROTARY_OF_ALL_HEADS.get(name)
        x = args[0] if args else None
        if dim is None or len(node.args) < 2 or not isinstance(x, Tensor) or len(x.dims or "??") != 3:
            return None
        last = x.known[-1]
        if not last.parts:
            if self.rewritable():
                self.uncut(name, node.args[1])
            return None
        self.demand(tensors_in(args[1:]), "a rotary table is whole")
        if not self.rewritable() or len(last.parts) != 1:
            self.demand((last,), "its rotary table is not cut by heads")
        table = Tensor(None)
        self.cut(table, Tensor((last,) * -dim), dim, name, node.args[1])
        self.barrier(x.streams, "the rows of the rotary table are not known to belong to the tokens")
        return x.alike(x.known)
