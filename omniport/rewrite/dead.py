"""Locals that a rewrite left without a reader."""

from __future__ import annotations

from collections import Counter
from itertools import dropwhile

import libcst as cst

from omniport.rewrite.syntax import assignment, assignments, dotted, variables
from omniport.source.transform import transform
from omniport.source.walk import of_kind

#: Calls that only compute a number: leaving one out changes nothing else.
_PURE = frozenset({"float", "int", "len", "max", "min"})


def drop_dead_locals(old: cst.FunctionDef, new: cst.FunctionDef) -> cst.FunctionDef:
    """``new`` without the lines ``name = value`` whose name ``old`` reads and ``new`` does not.

    A local that nothing read before the rewrite is the reference's own, and stays; so does one whose value calls
    anything but arithmetic, and a line that is all of its block.
    """
    if old is new:
        return new
    read = Counter(variables(old.body)) - _stores(old)
    while True:
        left = Counter(variables(new.body)) - _stores(new)
        unread = {name for name in read if not left[name]}
        swept = transform(new, _Drop(unread)) if unread else new
        assert isinstance(swept, cst.FunctionDef)
        if swept is new:
            return new
        new = swept


def _stores(function: cst.FunctionDef) -> Counter[str]:
    return Counter(target.value for target, _ in assignments(function.body) if isinstance(target, cst.Name))


def _pure(node: cst.CSTNode) -> bool:
    calls = [dotted(call.func) for call in of_kind(node, cst.Call)]
    return all(name in _PURE or name.startswith("math.") for name in calls)


class _Drop(cst.CSTTransformer):
    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        kept = [line for line in updated_node.body if not self._dead(line)]
        if not 0 < len(kept) < len(updated_node.body):
            return updated_node
        first = kept[0]
        if first is not updated_node.body[0] and isinstance(first, cst.SimpleStatementLine | cst.If | cst.For):
            comments = list(dropwhile(lambda line: line.comment is None, first.leading_lines))
            kept[0] = first.with_changes(leading_lines=comments)  # no blank line at the start of a block
        return updated_node.with_changes(body=kept)

    def _dead(self, line: cst.BaseStatement) -> bool:
        pair = assignment(line)
        return pair is not None and isinstance(pair[0], cst.Name) and pair[0].value in self.names and _pure(pair[1])
