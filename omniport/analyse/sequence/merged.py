"""Axes that merge samples and tokens: ``[batch, tokens, frames, width]`` as ``[batch * tokens, frames, width]``.

Samples come first, so that a rank's share of each sample is found again, and what acts on the rows of the merged axis
acts token by token.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from omniport.analyse.poly import Poly
from omniport.analyse.sequence.packed_rows import PackedRows
from omniport.analyse.sequence.rules import BATCH
from omniport.analyse.shapes import Dim, Num, Seq, Tensor

_LENGTH = re.compile(r"len\((\w+)\)")


class MergedRows(PackedRows):
    """Follows tokens into such an axis and out of it."""

    width: Callable[[Poly], bool]

    def samples(self, dim: Dim) -> Poly | None:
        """How many samples a merged axis has, None if it is another one."""
        if len(dim.streams) != 1:
            return None
        (stream,) = self.made_of(dim.streams) if len(self.made_of(dim.streams)) == 1 else ("",)
        samples = self.canonical(dim.size).divide(Poly.of(f"len({stream})"))
        return samples if samples is not None and samples.constant is None else None

    def token_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        given = args[0].items if len(args) == 1 and isinstance(args[0], Seq) else args
        cuts = name == "unflatten" and len(args) == 2 and isinstance(args[1], Seq)
        sizes = [size.poly for size in (args[1].items if cuts else given) if isinstance(size, Num)]
        if not isinstance(x, Tensor) or not x.dims or len(sizes) < (2 if cuts else len(given)) or not sizes:
            return super().token_call(name, x, args, kwargs, node)
        regrouped: Tensor | None = None
        if cuts and (at := self.axis(x, args[0])) is not None and (streams := x.dims[at].streams):
            regrouped = self.regrouped(x.dims, [*sizes, *(dim.size for dim in x.dims[1:])]) if at == 0 else None
            if regrouped is None:
                self.barrier(streams, "unflatten cuts the tokens into runs, of which a rank holds parts")
        elif name in ("view", "reshape"):
            regrouped = self.regrouped(x.dims, sizes)
        elif name == "flatten" and [size.constant for size in sizes] == [0, 1]:
            regrouped = self.regrouped(x.dims, [Poly.of(-1), *(dim.size for dim in x.dims[2:])])
        return regrouped if regrouped is not None else super().token_call(name, x, args, kwargs, node)

    def regrouped(self, dims: tuple[Dim, ...], sizes: list[Poly]) -> Tensor | None:
        """A reshape that merges the first two axes, or cuts the first one into the two that it was made of."""
        first, samples = dims[0], self.samples(dims[0])
        if len(dims) > 1 and len(sizes) == len(dims) - 1 and sizes[0].constant == -1:
            tokens = dims[1]
            lone = len(tokens.streams) == 1 and tokens.size == Poly.of(f"len({tokens.streams[0]})")
            if lone and not first.streams and not first.one and self.all_equal(sizes[1:], dims[2:]):
                return Tensor((Dim(first.size * tokens.size, (), tokens.streams), *dims[2:]))
        if samples is None:
            return None
        cut = len(sizes) == len(dims) + 1 and self.equal(sizes[0], samples) and sizes[1].constant == -1
        if cut and self.all_equal(sizes[2:], dims[1:]):
            length = Poly.of(f"len({first.streams[0]})")
            return Tensor((Dim(samples), Dim(length, (), first.streams), *dims[1:]))
        if (other := self.counted_rows(sizes[0], samples)) is not None:  # a row of one for each row of the other
            self.in_step(first.streams, (other,))
            rest = (Dim(size if size.constant != -1 else Poly.of(f"rest@{self.line}")) for size in sizes[1:])
            return Tensor((Dim(sizes[0], (), (other,)), *rest))
        return None

    def all_equal(self, sizes: list[Poly], dims: tuple[Dim, ...]) -> bool:
        pairs = zip(sizes, dims, strict=False)
        return len(sizes) == len(dims) and all(self.equal(size, dim.size) for size, dim in pairs)

    def counted_rows(self, size: Poly, samples: Poly) -> str | None:
        """The stream whose rows ``size`` counts, of that many samples."""
        rows = size.divide(samples)
        atom = next(iter(rows.atoms), "") if rows is not None and len(rows.atoms) == 1 else ""
        found = _LENGTH.fullmatch(atom) if rows == Poly.of(atom) else None
        return found[1] if found else None

    def meet(self, a: Dim, b: Dim, *, last: bool = True) -> Dim:
        """What meets the batch is as long as the batch, whatever it is the product of."""
        if not (a.streams or b.streams) and BATCH in (a.size, b.size) and not (a.one or b.one):
            return Dim(BATCH)
        return super().meet(a, b, last=last)

    def merged_axis(self, dims: tuple[Dim, ...], at: int, label: str) -> Dim | None:
        """Rows of a table that are a multiple of the batch: one for each token of each sample."""
        rows = dims[0].size.divide(BATCH) if len(dims) == 2 and at == 0 else None
        if rows is None or rows.constant is not None or self.width(rows):
            return None
        name = f"{label}__{at}"
        return Dim(BATCH * Poly.of(f"len({name})"), (), (name,))
