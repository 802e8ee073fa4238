"""The statements of a pipeline's call that conditions of its loop depend on, so that no others need be followed."""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import Block, Statement, bound, head_bound, inner_blocks, reads, suite
from omniport.rewrite.pipeline.liveness import live_in

Nodes = tuple[cst.CSTNode, ...]


@dataclass(frozen=True)
class Slice:
    """``kept`` are the statements, by identity; ``carried`` the names that a step leaves to the next one."""

    kept: frozenset[int]
    carried: frozenset[str]


def slice_of(entry: cst.FunctionDef, loop: cst.For | cst.While, tests: Collection[cst.BaseExpression]) -> Slice:
    """What ``tests``, conditions of statements around or in ``loop``, depend on; these statements and the loop, too."""
    slicer = _Slicer(loop, {id(test) for test in tests})
    slicer.walk(suite(entry.body), (), ())
    asked = [*reads(*tests), *reads(loop.iter if isinstance(loop, cst.For) else loop.test)]
    found: set[str] = set()
    while asked:
        name = asked.pop()
        if name in found:
            continue
        found.add(name)
        for sources, places in slicer.binders.get(name, ()):
            asked += reads(*sources)
            slicer.kept.update(map(id, places))
    body = suite(loop.body)
    return Slice(frozenset(slicer.kept), frozenset(live_in(body) & bound(body) & found))


class _Slicer:
    """By name what it may be bound to: what its value depends on, and the statement with those around it."""

    def __init__(self, loop: cst.For | cst.While, tests: Collection[int]) -> None:
        self.loop, self.tests = loop, tests
        self.binders: dict[str, list[tuple[Nodes, tuple[Statement, ...]]]] = {}
        self.kept: set[int] = set()

    def walk(self, block: Block, tests: Nodes, around: tuple[Statement, ...]) -> None:
        for node in block:
            names, places = head_bound(node), (*around, node)
            sources: Nodes = (node, *tests)
            if isinstance(node, cst.SimpleStatementLine):
                names |= _changed(node)
            elif isinstance(node, cst.If):
                sources = (node.test, *tests)
                self.walk(suite(node.body), sources, places)
                if isinstance(node.orelse, cst.If):
                    self.walk([node.orelse], sources, places)
                elif node.orelse is not None:
                    self.walk(suite(node.orelse.body), sources, places)
                if id(node.test) in self.tests:
                    self.kept.update(map(id, places))
            elif parts := inner_blocks(node):
                heads = (getattr(node, "iter", None), getattr(node, "test", None))
                sources = (*(head for head in heads if head is not None), *tests)
                for part in parts:
                    self.walk(suite(part), sources, places)
                if isinstance(node, cst.With):
                    sources = (*(item.item for item in node.items), *tests)
                if node is self.loop:
                    self.kept.update(map(id, places))
            for name in names:
                self.binders.setdefault(name, []).append((sources, places))


def _changed(line: cst.SimpleStatementLine) -> set[str]:
    """Names of which a line binds an element."""
    targets = [t.target for small in line.body if type(small) is cst.Assign for t in small.targets]
    return {t.value.value for t in targets if type(t) is cst.Subscript and type(t.value) is cst.Name}
