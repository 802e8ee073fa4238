"""Walks that go on where a decision that was taken back first mattered, in place of starting over.

A decision about a linear is asked where the linear is called; one about the head count of a class where an attribute of
its modules is read.  What was walked before the forward came to either holds under the new decision, too.
"""

from __future__ import annotations

import ast

from omniport.analyse.dataflow import Walk
from omniport.analyse.expressions import Env
from omniport.analyse.facts import Decisions, Facts
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.checkpoint import Checkpoint
from omniport.analyse.shapes import Key
from omniport.records import dataclass
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

_APART = 30  # statements between two checkpoints: one costs as much as a few
_KEPT = frozenset({"decisions", "saved"})  # attributes of a walk that a checkpoint does not bring back


@dataclass(frozen=True)
class Saved:
    """A checkpoint with what had been asked in front of it, and what was decided then."""

    checkpoint: Checkpoint
    called: frozenset[Key]  # layers
    asked: frozenset[str]  # classes
    whole: frozenset[Key]
    parts: dict[Key, tuple[Poly, ...]]
    local: dict[tuple[str, str], Poly]
    kept: frozenset[tuple[str, str]]

    def holds(self, decisions: Decisions) -> bool:
        """Whether a walk under ``decisions`` comes to the same point."""
        changed = decisions.whole.keys() ^ self.whole
        keys = decisions.parts.keys() | self.parts.keys()
        changed |= {key for key in keys if decisions.parts.get(key) != self.parts.get(key)}
        classes = {cls for (cls, _), _ in decisions.local.items() ^ self.local.items()}
        classes |= {cls for cls, _ in decisions.kept ^ self.kept}
        heads = {cls for cls, _ in (*decisions.local, *self.local)}
        classes |= {key[0] for key in changed if key[0] in heads}
        return changed.isdisjoint(self.called) and classes.isdisjoint(self.asked)


class ResumedWalk(Walk):
    """Goes on at the last of ``saved`` that holds, and adds its own checkpoints to them."""

    def __init__(self, normal: NormalForm, decisions: Decisions, source: SourceTree | None, saved: list[Saved]) -> None:
        super().__init__(normal, decisions, source)
        self.saved = saved
        self.steps = self.last = self.entered = 0

    def run(self) -> Facts:
        while self.saved and not self.saved[-1].holds(self.decisions):
            self.saved.pop()
        if not self.saved:
            return super().run()
        checkpoint = self.saved[-1].checkpoint
        env = checkpoint.restore(self)
        self.statements(self.method_of(self.root.cls, "forward").body, env, checkpoint.at)
        self.line = self.entered
        return self.ended(self.joined(self.returns.pop()))

    def block(self, body: list[ast.stmt], env: Env) -> bool:
        if len(self.returns) != 1 or body is not self.method_of(self.root.cls, "forward").body:
            return super().block(body, env)
        self.entered = self.line
        return self.statements(body, env, 0)

    def statements(self, body: list[ast.stmt], env: Env, first: int) -> bool:
        """The statements of the root's forward from ``first`` on."""
        for at, node in enumerate(body[first:], first):
            if self.steps - self.last >= _APART:
                self.last = self.steps
                self.saved.append(self.point(at, env))
            self.line = node.lineno
            if self.follow(node, env):
                return True
        return False

    def point(self, at: int, env: Env) -> Saved:
        facts, now = self.facts, self.decisions
        called = frozenset((*facts.linears, *facts.convs, *facts.plain))
        taken = (frozenset(now.whole), dict(now.parts), dict(now.local), frozenset(now.kept))
        return Saved(Checkpoint(at, self, env, _KEPT), called, frozenset(self.asked_of), *taken)

    def follow(self, node: ast.stmt, env: Env) -> bool:
        self.steps += 1
        return super().follow(node, env)
