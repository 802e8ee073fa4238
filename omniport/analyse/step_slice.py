"""The statements of a pipeline's call that conditions of its loop depend on, so that no others need be followed."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import Block, Statement, bound, head_bound, inner_blocks, reads, statements, suite
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
    made = bound(body).union(*(changed(small) for small in _lines(body)))
    return Slice(frozenset(slicer.kept), frozenset(live_in(body) & made & found))


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
                names |= set[str]().union(*map(changed, node.body))
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


def changed(small: cst.BaseSmallStatement) -> set[str]:
    """Names of whose values a line binds an element or an attribute, or calls a method for what it does."""
    targets: list[cst.BaseExpression] = []
    if isinstance(small, cst.Assign):
        targets = [t.target for t in small.targets]
    elif isinstance(small, cst.AugAssign | cst.AnnAssign | cst.Del):
        targets = [small.target]
    elif isinstance(small, cst.Expr) and isinstance(small.value, cst.Call):
        owner = getattr(small.value.func, "value", None)  # not of self: its methods are called for all sorts of things
        return {owner.value} - {"self"} if isinstance(owner, cst.Name) else set()
    parts = [e.value for t in targets for e in (t.elements if isinstance(t, cst.Tuple | cst.List) else ())]
    return {name for target in (*targets, *parts) if (name := _owner(target))}


def _owner(target: cst.BaseExpression) -> str:
    """The name that ``target``, an element or attribute, is reached from; "" if it is none."""
    node = target
    while isinstance(node, cst.Subscript | cst.Attribute):
        node = node.value
    return node.value if isinstance(node, cst.Name) and node is not target else ""


def _lines(block: Block) -> Iterator[cst.BaseSmallStatement]:
    for node in statements(block):
        if isinstance(node, cst.SimpleStatementLine):
            yield from node.body
