"""Lines that both branches of a condition hold stand in front of it, and a branch that does nothing is none.

``if guided: x, y = a, b`` and ``else: x, y = a, c`` is what is left of doubled batches, of which each branch of
guidance now has its own half.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.negation import negated
from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    bound,
    changed,
    indented,
    pure,
    reads,
    same,
    small_bound,
    suite,
)
from omniport.rewrite.pipeline.walk import reads_of
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def without_common_lines(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` with what both branches of a condition do in front of it; the same object if there is no such."""
    if not any(isinstance(node.orelse, cst.Else) for node in of_kind(function, cst.If)):
        return function
    uses = Counter(name.value for name in of_kind(function, cst.Name))
    new = transform(function, _Common(uses))
    assert isinstance(new, cst.FunctionDef)
    return new


class _Common(cst.CSTTransformer):
    def __init__(self, uses: Counter[str]) -> None:
        self.uses = uses

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If:
        """``if a: pass`` with an ``else`` as ``if not a``."""
        other = updated_node.orelse
        if not isinstance(other, cst.Else) or not _nothing(updated_node.body) or other.leading_lines:
            return updated_node
        return updated_node.with_changes(test=negated(updated_node.test), body=other.body, orelse=None)

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body: Block = []
        for node in suite(updated_node):
            if isinstance(node, cst.If) and isinstance(node.orelse, cst.Else):
                body += self.hoisted(node, node.orelse)
            else:
                body.append(node)
        return changed(updated_node, body=body)

    def hoisted(self, node: cst.If, orelse: cst.Else) -> Block:
        """The lines in front of a condition, and what is left of it."""
        sides = [self.handed_on(suite(node.body)), self.handed_on(suite(orelse.body))]
        front: Block = []
        for line in list(sides[0]):
            if not _movable(line, sides[0], node.test):
                continue
            other = next((each for each in sides[1] if _alike(line, each)), None)
            if other is not None and _movable(other, sides[1], node.test):
                front.append(line)
                sides = [[each for each in side if each not in (line, other)] for side in sides]
        if not front:
            return [node]
        front[0] = front[0].with_changes(leading_lines=[*node.leading_lines, *_remarks(front[0])])
        test, (body, rest) = node.test, sides
        if not body and not rest:
            return front
        if not body:
            test, body, rest = negated(test), rest, []
        last = cst.Else(indented(rest), orelse.leading_lines) if rest else None
        left = cst.If(test, indented([body[0].with_changes(leading_lines=_remarks(body[0])), *body[1:]]), last)
        return [*front, left]

    def handed_on(self, block: Block) -> Block:
        """``x = f(a)`` and ``y = x``, where nothing else names ``x``, as ``y = f(a)``."""
        found: Block = []
        for line in block:
            now, before = _assigned(line), _assigned(found[-1]) if found else None
            handed = now is not None and before is not None and isinstance(now.value, cst.Name)
            if handed and not _remarks(line):
                assert now is not None and before is not None and isinstance(now.value, cst.Name)
                name = now.value.value
                if small_bound(before) == {name} and self.uses[name] == 2:
                    found[-1] = found[-1].with_changes(body=[now.with_changes(value=before.value)])
                    continue
            found.append(line)
        return found


def _nothing(body: cst.BaseSuite) -> bool:
    lines = suite(body)
    only = lines[0] if len(lines) == 1 and not lines[0].leading_lines else None
    return isinstance(only, cst.SimpleStatementLine) and isinstance(only.body[0], cst.Pass)


def _assigned(line: Statement) -> cst.Assign | None:
    """The assignment of a line ``name = value``."""
    small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    plain = isinstance(small, cst.Assign) and len(small.targets) == 1 and isinstance(small.targets[0].target, cst.Name)
    return small if plain and isinstance(small, cst.Assign) else None


def _movable(line: Statement, block: Sequence[Statement], test: cst.BaseExpression) -> bool:
    """Whether a line may run in front of the condition, and of what stands above it in its branch."""
    made = _assigned(line)
    if made is None or not pure(test):
        return False
    above = list(block[: block.index(line)])
    target, read = small_bound(made), set(reads(made.value))
    if target & set(reads(test)) or (above and not isinstance(made.value, cst.Name)):
        return False
    return not bound(above) & (target | read) and not any(target & set(reads_of(node)) for node in above)


def _alike(line: Statement, other: Statement) -> bool:
    """Whether two lines are the same assignment, comments above them aside."""
    made, also = _assigned(line), _assigned(other)
    if made is None or also is None or small_bound(made) != small_bound(also):
        return False
    return same(_plain(line), _plain(other))


def _plain(line: Statement) -> Statement:
    """The line without the comments above it."""
    return line.with_changes(leading_lines=[])


def _remarks(line: Statement) -> list[cst.EmptyLine]:
    """The comments above a line."""
    return [each for each in line.leading_lines if each.comment is not None]
