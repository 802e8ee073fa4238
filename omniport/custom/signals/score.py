"""A score with its evidence: every point has a sentence and a line."""

from __future__ import annotations

import ast
from dataclasses import field

from omniport.custom.code import ClassRef, CodeFile
from omniport.plan.custom import Candidate, CustomRole
from omniport.plan.model import Why
from omniport.records import dataclass


@dataclass
class Score:
    """Collects evidence for one candidate."""

    role: CustomRole
    name: str
    file: CodeFile
    node: ast.AST
    total: int = 0
    evidence: list[Why] = field(default_factory=list)

    @classmethod
    def of(cls, role: CustomRole, ref: ClassRef) -> Score:
        return cls(role, ref.name, ref.file, ref.node)

    def add(self, points: int, reason: str, node: ast.AST | int | None = None) -> None:
        """``points`` for ``reason``, seen at ``node`` (a line number will do)."""
        if any(why.reason == f"{points:+d} {reason}" for why in self.evidence):
            return  # the same thing twice says nothing more
        line = node if isinstance(node, int) else getattr(node, "lineno", getattr(self.node, "lineno", 0))
        self.total += points
        self.evidence.append(Why(f"{points:+d} {reason}", self.file.path, line))

    def candidate(self) -> Candidate:
        return Candidate(
            self.role, self.name, self.file.path, getattr(self.node, "lineno", 0), self.total, tuple(self.evidence)
        )
