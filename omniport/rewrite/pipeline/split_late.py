"""A doubled batch halved just before the denoising, where the statements ahead of it cannot be split.

Helpers may join both sides inside, or the call itself under another condition than the one that doubles the latents
(StableAudio makes the negative side in three ways).  What then reaches the denoiser is a pair in one tensor, in the
order in which the source halves the prediction; its halves get names of their own ahead of the loop, and the loop is
split as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, bare, bound, indented, parse, suite
from omniport.rewrite.pipeline.both import holders
from omniport.rewrite.pipeline.denoiser import denoiser_calls
from omniport.rewrite.pipeline.liveness import live_in
from omniport.rewrite.pipeline.split import Split
from omniport.rewrite.pipeline.split_parts import NEGATIVE, chunked, doubled, factor_removed, text
from omniport.rewrite.pipeline.walk import calls
from omniport.source.walk import walk


class LateSplit(Split):
    """Splits the denoising of one function; ``joining`` are helpers that double or join sides inside."""

    def __init__(
        self,
        function: cst.FunctionDef,
        joining: Collection[str],
        denoisers: frozenset[str],
    ) -> None:
        none: Mapping[str, tuple[int, str]] = {}
        super().__init__(function, none, denoisers)
        self.joining = joining

    def run(self) -> cst.FunctionDef:
        """The function with its denoising in sequential form.

        Raises:
            UnsupportedError: no rule proves the split.
        """
        block = suite(self.function.body)
        start = next((i for i, s in enumerate(block) if denoiser_calls(s, self.denoisers)), None)
        if start is None:
            raise self.refuse("the call runs no denoiser itself")
        before, rest = block[:start], block[start:]
        self._sure(before, rest)
        self.guard, self.order = self._guard(rest), self._order(rest)
        both = holders(before, self.joining)
        names = sorted(both & live_in(rest), key=text_order(before))
        if not names:
            raise self.refuse("the denoiser reads no value that holds both sides")
        lines = []
        for name in names:
            twin = self.twin(cst.Name(name), None)
            halves = f"{twin}, {name}" if self.order == "np" else f"{name}, {twin}"
            lines += parse(f"{halves} = {name}.chunk(2)\n")
            self.pair(cst.Name(name), twin)
        choice = cst.If(
            test=cst.parse_expression(self.guard),
            body=indented(lines),
            leading_lines=[cst.EmptyLine(indent=False)],
        )
        new = self.block(rest, False, False)
        if not self.twice or not self.halved:
            raise self.refuse("the denoiser reads no value that holds both sides")
        return self.function.with_changes(body=indented([*before, choice, *new], self.function.body))

    def _sure(self, before: Block, rest: Block) -> None:
        """What is doubled unseen must be tensors ahead of the loop: no helper in it, and no size for both sides."""
        if inner := [n for n in self.joining for s in rest if calls(s, f"self.{n}")]:
            raise self.refuse(f"{inner[0]} doubles or joins batches inside the denoising")
        for node in (n for s in before for n in walk(s) if isinstance(n, cst.IfExp)):
            if text(factor_removed(node.body)) == text(node.orelse) != text(node.body):
                raise self.refuse(f"{text(node)} is a size for both sides")

    def _guard(self, block: Block) -> str:
        """The condition under which the denoising doubles what it gives to the denoiser."""
        found = {
            text(n.test)
            for s in block
            for n in walk(s)
            if isinstance(n, cst.IfExp) and doubled(n.body, True) is not None
        }
        if len(found) != 1:
            raise self.refuse("the latents are not doubled under one condition")
        return found.pop()

    def _order(self, block: Block) -> str:
        """The order of the halves, by their names."""
        orders = set()
        for node in (n for s in block for n in walk(s) if isinstance(n, cst.Assign)):
            names = bare(node.targets[0].target)
            if isinstance(names, cst.Tuple) and len(names.elements) == 2 and chunked(node.value) is not None:
                negative = [bool(NEGATIVE.search(text(e.value))) for e in names.elements]
                if negative[0] != negative[1]:
                    orders.add("np" if negative[0] else "pn")
        if len(orders) != 1:
            raise self.refuse("the halves of the prediction have no names that tell them apart")
        return orders.pop()


def text_order(block: Block) -> Callable[[str], tuple[int, str]]:
    """A sort key: where a block first binds a name."""
    order = [n for s in block for n in sorted(bound([s]))]
    return lambda name: (order.index(name) if name in order else len(order), name)
