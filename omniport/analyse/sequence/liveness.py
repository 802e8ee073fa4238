"""Which names a function reads again: where two paths meet, only those have to agree."""

from __future__ import annotations

import ast

from omniport.analyse.dataflow import Walk
from omniport.analyse.expressions import Env
from omniport.source.nodes import each_node

_LOOPS = ast.For | ast.While
_FUNCTIONS = ast.FunctionDef | ast.Lambda


def asked_only(body: list[ast.stmt]) -> set[str]:
    """Names that are read as conditions alone: nothing is computed from them."""
    nodes = [node for line in body for node in each_node(line)]
    asked = [node.test for node in nodes if isinstance(node, ast.If | ast.IfExp)]
    tests = {id(test): test.id for test in asked if isinstance(test, ast.Name)}
    read = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in tests}
    return set(tests.values()) - read


def mentioned(body: list[ast.stmt]) -> frozenset[str]:
    """Names that statements read or assign."""
    return frozenset[str]().union(*map(_names, body))


def _names(node: ast.stmt) -> frozenset[str]:
    kept: frozenset[str] | None = node.__dict__.get("_names")
    if kept is None:
        kept = frozenset(part.id for part in each_node(node) if isinstance(part, ast.Name))
        node.__dict__["_names"] = kept
    return kept


def live(body: list[ast.stmt]) -> set[str]:
    """Names that are read in ``body`` before every path has assigned them."""
    live: set[str] = set()
    done: set[str] = set()
    for node in body:
        live |= reads(node) - done
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            done |= {n.id for t in targets for n in each_node(t) if isinstance(n, ast.Name)}
    return live


def reads(node: ast.AST) -> frozenset[str]:
    """Names that are read anywhere in ``node``, those that are only added to included."""
    kept: frozenset[str] | None = node.__dict__.get("_reads")
    if kept is None:
        added = (n.target for n in each_node(node) if isinstance(n, ast.AugAssign))
        kept = loads(node) | {target.id for target in added if isinstance(target, ast.Name)}
        node.__dict__["_reads"] = kept
    return kept


def loads(node: ast.AST) -> frozenset[str]:
    """Names that are loaded anywhere in ``node``."""
    kept: frozenset[str] | None = node.__dict__.get("_loads")
    if kept is None:
        names = (n for n in each_node(node) if isinstance(n, ast.Name))
        kept = node.__dict__["_loads"] = frozenset(n.id for n in names if isinstance(n.ctx, ast.Load))
    return kept


class LiveNames(Walk):
    """Knows of the statements that follow the one that is walked."""

    later: list[tuple[int, list[ast.stmt], int]]  # depth of calls, a body, and the statement of it that is walked

    def block(self, body: list[ast.stmt], env: Env) -> bool:
        for at, node in enumerate(body):
            self.line = node.lineno
            if self.step(body, at, env):
                return True
        return False

    def step(self, body: list[ast.stmt], at: int, env: Env) -> bool:
        """Walk one statement of ``body``."""
        self.later.append((len(self.returns), body, at))
        try:
            return self.follow(body[at], env)
        finally:
            self.later.pop()

    def read_again(self, name: str) -> bool:
        """Whether the function that is walked may read ``name`` behind the statement that is walked."""
        frames = [frame for frame in self.later if frame[0] == len(self.returns)]
        for level, (_, body, at) in enumerate(reversed(frames)):
            if level and isinstance(body[at], _LOOPS) and name in reads(body[at]):  # by its next round
                return True
            read, assigned = _behind(body, at)
            if name in read:
                return True
            if name in assigned:
                return False
        return any(name in enclosed(body) for _, body, _ in frames[:1])


def enclosed(body: list[ast.stmt]) -> frozenset[str]:
    """Names that the functions defined in ``body`` read when they are called."""
    kept: frozenset[str] | None = body[0].__dict__.get("_enclosed")
    if kept is None:
        inner = (part for line in body for part in each_node(line) if isinstance(part, _FUNCTIONS))
        kept = body[0].__dict__["_enclosed"] = frozenset(name for part in inner for name in reads(part))
    return kept


def _behind(body: list[ast.stmt], at: int) -> tuple[set[str], set[str]]:
    """Names that are read, and that are assigned, behind the statement ``at``; kept with it for all walks."""
    kept: tuple[set[str], set[str]] | None = body[at].__dict__.get("_behind")
    if kept is None:
        rest = body[at + 1 :]
        targets = (t for node in rest if isinstance(node, ast.Assign) for t in node.targets)
        assigned = {n.id for t in targets for n in each_node(t) if isinstance(n, ast.Name)}
        kept = body[at].__dict__["_behind"] = (live(rest), assigned)
    return kept
