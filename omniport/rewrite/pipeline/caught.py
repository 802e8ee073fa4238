"""An error that a handler only warns of, and behind which the result is missing, is not caught.

``try: image = decode(x)``, ``except OutOfMemoryError as e: warn(e)``, and then ``f(image)`` ends in an error about an
unbound name, which hides the one that says what happened.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    assigned,
    bound,
    changed,
    indented,
    reads,
    suite,
    without_lines,
)
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.syntax import dotted
from omniport.source.walk import of_kind

_WARNS = frozenset({"warnings.warn", "logger.warning", "logger.error", "logger.exception", "logger.info"})


def without_lost_results(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` without such handlers, and without lines that only said what to catch; itself if there is none."""
    if not of_kind(function, cst.Try):
        return function
    work = _Work()
    known = {p.name.value for p in all_parameters(function.params)}
    block = work.inside(suite(function.body), known, set())
    if not work.caught:
        return function
    while unread := (work.caught & bound(block)) - reads(*block).keys():
        lines = [found for node in of_kind(indented(block), cst.SimpleStatementLine) if (found := assigned(node))]
        work.caught |= {n for name, value in lines if name in unread for n in reads(value)}
        block = without_lines(block, lambda line, gone=unread: (assigned(line) or ("",))[0] in gone)  # type: ignore[misc]
        work.caught -= unread
    return changed(function, body=indented(block, function.body))


class _Work:
    def __init__(self) -> None:
        self.caught: set[str] = set()  # names that said what to catch

    def inside(self, block: Block, known: set[str], later: set[str]) -> Block:
        """``block``, ahead of which ``known`` names may be bound, and behind which ``later`` ones are read."""
        out: Block = []
        known = set(known)
        for i, node in enumerate(block):
            following = later | reads(*block[i + 1 :]).keys()
            lost = (bound(suite(node.body)) - known) & following if isinstance(node, cst.Try) else set()
            if isinstance(node, cst.Try) and lost and _only_warns(node):
                self.caught |= {n for h in node.handlers if h.type is not None for n in reads(h.type)}
                first, *rest = self.inside(suite(node.body), known, following)
                out += [first.with_changes(leading_lines=[*node.leading_lines, *first.leading_lines]), *rest]
            else:
                out.append(self._below(node, known, following))
            known |= bound([node])
        return out

    def _below(self, node: Statement, known: set[str], later: set[str]) -> Statement:
        """A condition, or ``with``, with its blocks; what runs more than once stays."""
        if not isinstance(node, cst.If | cst.With):
            return node
        new = changed(node, body=indented(self.inside(suite(node.body), known, later), node.body))
        other = getattr(node, "orelse", None)
        if isinstance(other, cst.If):
            new = changed(new, orelse=self._below(other, known, later))
        elif isinstance(other, cst.Else):
            body = indented(self.inside(suite(other.body), known, later), other.body)
            new = changed(new, orelse=changed(other, body=body))
        return new


def _only_warns(node: cst.Try) -> bool:
    """Whether every handler goes on behind the statement, with nothing but a warning."""
    if node.orelse is not None or node.finalbody is not None:
        return False
    for line in (line for h in node.handlers for line in suite(h.body)):
        small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
        call = small.value if isinstance(small, cst.Expr) else None
        if not isinstance(call, cst.Call) or dotted(call.func) not in _WARNS:
            return False
    return True
