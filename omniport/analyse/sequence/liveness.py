"""Which names a function reads again: where two paths meet, only those have to agree."""

from __future__ import annotations

import ast

from omniport.analyse.dataflow import Walk
from omniport.analyse.expressions import Env

_LOOPS = ast.For | ast.While
_FUNCTIONS = ast.FunctionDef | ast.Lambda


def asked_only(body: list[ast.stmt]) -> set[str]:
    """Names that are read as conditions alone: nothing is computed from them."""
    nodes = [node for line in body for node in ast.walk(line)]
    asked = [node.test for node in nodes if isinstance(node, ast.If | ast.IfExp)]
    tests = {id(test): test.id for test in asked if isinstance(test, ast.Name)}
    read = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in tests}
    return set(tests.values()) - read


def live(body: list[ast.stmt]) -> set[str]:
    """Names that are read in ``body`` before every path has assigned them."""
    live: set[str] = set()
    done: set[str] = set()
    for node in body:
        live |= reads(node) - done
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            done |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return live


def reads(node: ast.AST) -> set[str]:
    """Names that are read anywhere in ``node``, those that are only added to included."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    added = (n.target for n in ast.walk(node) if isinstance(n, ast.AugAssign))
    return found | {target.id for target in added if isinstance(target, ast.Name)}


class LiveNames(Walk):
    """Knows of the statements that follow the one that is walked."""

    later: list[tuple[int, list[ast.stmt], int]]  # depth of calls, a body, and the statement of it that is walked
    ahead: dict[tuple[int, int], tuple[set[str], set[str]]]  # by body and statement: names read and assigned behind it

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
            if level and isinstance(body[at], _LOOPS) and name in self.looped(body[at]):
                return True
            read, assigned = self.behind(body, at)
            if name in read:
                return True
            if name in assigned:
                return False
        return any(name in self.enclosed(body) for _, body, _ in frames[:1])

    def looped(self, node: ast.stmt) -> set[str]:
        """Names that a loop reads: what one round assigns may be read by the next."""
        key = (id(node), -1)
        if key not in self.ahead:
            self.ahead[key] = reads(node), set()
        return self.ahead[key][0]

    def enclosed(self, body: list[ast.stmt]) -> set[str]:
        """Names that the functions defined in ``body`` read when they are called."""
        key = (id(body), -1)
        if key not in self.ahead:
            inner = (part for line in body for part in ast.walk(line) if isinstance(part, _FUNCTIONS))
            self.ahead[key] = {name for part in inner for name in reads(part)}, set()
        return self.ahead[key][0]

    def behind(self, body: list[ast.stmt], at: int) -> tuple[set[str], set[str]]:
        key = (id(body), at)
        if key not in self.ahead:
            rest = body[at + 1 :]
            targets = (t for node in rest if isinstance(node, ast.Assign) for t in node.targets)
            assigned = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            self.ahead[key] = live(rest), assigned
        return self.ahead[key]
