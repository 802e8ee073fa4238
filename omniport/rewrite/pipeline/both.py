"""Which names hold both sides of the guidance in one value, followed forward through the statements."""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, inner_blocks, suite
from omniport.rewrite.pipeline.denoiser import denoiser_calls
from omniport.rewrite.pipeline.split_parts import META, META_CALLS, doubled, sides
from omniport.rewrite.pipeline.walk import target_names
from omniport.source.syntax import dotted
from omniport.source.walk import children, walk


def holders(block: Block, joining: Collection[str]) -> set[str]:
    """Names that may hold both sides after ``block``; ``joining`` are helpers that double or join sides inside."""
    return _Flow(joining).block(block, set())


def reaches_denoiser(block: Block, joining: Collection[str], denoisers: frozenset[str]) -> bool:
    """Whether a denoiser is given such a value in the first round of its loop.

    What only the rounds before made double (Cosmos joins two predictions for one step of the scheduler) is none.
    """
    flow = _Flow(joining, denoisers)
    flow.block(block, set())
    return flow.reached


class _Flow:
    def __init__(self, joining: Collection[str], denoisers: frozenset[str] = frozenset()) -> None:
        self.joining, self.denoisers = joining, denoisers
        self.reached = False

    def block(self, block: Block, known: set[str]) -> set[str]:
        for node in block:
            if isinstance(node, cst.SimpleStatementLine):
                known = self.line(node, known)
            else:
                for part in inner_blocks(node):  # either branch may have run
                    known = known | self.block(suite(part), set(known))
        return known

    def line(self, node: cst.SimpleStatementLine, known: set[str]) -> set[str]:
        for call in denoiser_calls(node, self.denoisers) if self.denoisers else ():
            self.reached = self.reached or any(self.holds(a.value) or _reads(a.value, known) for a in call.args)
        for small in node.body:
            if isinstance(small, cst.Assign):
                names = set().union(*(target_names(t.target) for t in small.targets))
                both = self.holds(small.value) or _reads(small.value, known)
                known = known | names if both else known - names
        return known

    def holds(self, node: cst.BaseExpression) -> bool:
        """Whether an expression doubles a value, or joins two sides, somewhere in it."""
        for inner in walk(node):
            if isinstance(inner, cst.Call) and (dotted(inner.func) or "").removeprefix("self.") in self.joining:
                return True
            if isinstance(inner, cst.Call | cst.BinaryOperation) and (
                doubled(inner, False) is not None or sides(inner) is not None
            ):
                return True
        return False


def _reads(node: cst.CSTNode, names: set[str]) -> bool:
    """Whether evaluating a node needs the content of one of ``names``, not only its type or shape."""
    if isinstance(node, cst.Name):
        return node.value in names
    if isinstance(node, cst.Attribute):
        return node.attr.value not in META and _reads(node.value, names)
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value in META_CALLS:
        return False
    if isinstance(node, cst.Arg):
        return _reads(node.value, names)
    return any(_reads(c, names) for c in children(node))
