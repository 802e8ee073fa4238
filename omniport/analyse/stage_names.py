"""Names that a run of blocks carries along: which are read again, which hold what blocks gave, which are made anew."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

from omniport.source.nodes import each_node

#: What of a tensor does not depend on its numbers.
_FORM = {"shape", "dtype", "device", "ndim", "size", "dim"}

#: Methods that change what they are called on.
_CHANGING = {"append", "add", "clear", "extend", "insert", "pop", "popleft", "remove", "reverse", "sort", "update"}

_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def numbers(node: ast.AST) -> Iterator[str]:
    """Names that are read for more than their form."""
    if isinstance(node, ast.Attribute) and node.attr in _FORM and isinstance(node.value, ast.Name):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from numbers(child)


def stored(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are assigned or changed within ``nodes``."""
    found: set[str] = set()
    for node in nodes:
        own = _of_comprehensions(node)
        for part in each_node(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                found |= {part.id} - own
            found |= _changed(part)
    return found


def assigned(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are assigned within ``nodes``, those that are only changed left out."""
    return {n.id for node in nodes for n in each_node(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _of_comprehensions(node: ast.AST) -> set[str]:
    """Names that comprehensions within ``node`` have for themselves."""
    targets = (g.target for c in each_node(node) if isinstance(c, _COMPREHENSIONS) for g in c.generators)
    return assigned(targets)


def _changed(node: ast.AST) -> set[str]:
    """What a node changes in place."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        name = node.func.attr
        if name in _CHANGING or (name.endswith("_") and not name.endswith("__")):
            return {node.func.value.id}
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        base: ast.expr = node
        while isinstance(base, ast.Subscript | ast.Attribute):
            base = base.value
        return {base.id} if isinstance(base, ast.Name) else set()
    return set()


Reads = Callable[[ast.AST], frozenset[str]]


def reads(node: ast.AST) -> frozenset[str]:
    """Names that are read within ``node``."""
    added = {n.target.id for n in each_node(node) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
    loaded = {n.id for n in each_node(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return frozenset((loaded - _of_comprehensions(node)) | added)


def reads_numbers(node: ast.AST) -> frozenset[str]:
    """Those of :func:`reads` that are read for more than their form."""
    added = {n.target.id for n in each_node(node) if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
    return frozenset((set(numbers(node)) - _of_comprehensions(node)) | added)


def live_before(body: list[ast.stmt], after: frozenset[str], reading: Reads = reads) -> frozenset[str]:
    """Names that may be read in ``body`` before they are assigned, or behind it where ``after`` are."""
    live = after
    for node in reversed(body):
        live = _before(node, live, reading)
    return live


def _before(node: ast.stmt, after: frozenset[str], reading: Reads) -> frozenset[str]:
    if isinstance(node, ast.Return | ast.Raise):
        return reading(node)
    if isinstance(node, ast.Assign):
        return (after - assigned(node.targets)) | reading(node)
    if isinstance(node, ast.If):
        ways = live_before(node.body, after, reading) | live_before(node.orelse, after, reading)
        return ways | reading(node.test)
    if isinstance(node, ast.For):
        bound = assigned([node.target])
        once = live_before(node.body, after, reading) - bound
        again = live_before(node.body, after | once, reading) - bound
        return after | again | reading(node.iter)
    return after | reading(node)


def given_by_blocks(bodies: list[tuple[list[ast.stmt], set[str]]]) -> set[str]:
    """Names whose numbers depend on what blocks gave.

    Args:
        bodies: statements, each with the names of the blocks that they call.
    """
    found: set[str] = set()
    while True:
        known = set(found)
        for body, blocks in bodies:
            _spread(body, blocks, found, False)
        if found == known:
            return found


def _spread(body: list[ast.stmt], blocks: set[str], found: set[str], under: bool) -> None:
    for node in body:
        if isinstance(node, ast.If):
            asked = under or bool(found & set(numbers(node.test)))
            _spread(node.body, blocks, found, asked)
            _spread(node.orelse, blocks, found, asked)
        elif under or calls_of(node, blocks) or found & _sources(node):
            found |= stored([node])


def _sources(node: ast.stmt) -> set[str]:
    """Names whose numbers what a statement stores is made from."""
    if isinstance(node, ast.Assign):
        places = [t for t in node.targets if not isinstance(t, ast.Name)]
        return {name for part in [node.value, *places] for name in numbers(part)}
    own = {node.target.id} if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) else set()
    return set(numbers(node)) | own


def calls_of(node: ast.AST, blocks: set[str]) -> list[ast.Call]:
    """Calls of a block within ``node``."""
    return [
        n for n in each_node(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in blocks
    ]


def made_anew(body: list[ast.stmt], wanted: frozenset[str]) -> list[ast.stmt]:
    """The statements of a loop that make ``wanted``, and what these need of one another."""
    needed = set(wanted)
    while True:
        kept = _kept(body, needed)
        more = needed | {name for node in kept for name in reads_numbers(node)} & stored(body)
        if more == needed:
            return kept
        needed = more


def _kept(body: list[ast.stmt], needed: set[str]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If):
            inner, other = _kept(node.body, needed), _kept(node.orelse, needed)
            if inner or other:
                kept.append(ast.If(node.test, inner or [ast.Pass()], other))
        elif stored([node]) & needed:
            alone = isinstance(node, ast.Assign) and not assigned([node]) & needed
            kept.append(ast.Expr(node.value) if alone and isinstance(node, ast.Assign) else node)
    return kept
