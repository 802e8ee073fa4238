"""Parameters that switch what comes in: ``if forcing: batch, frames = timestep.shape``.

Each setting is walked by itself: the inputs, and what is made of them, then have one number of axes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from omniport.analyse.expressions import text
from omniport.analyse.sequence.lookups import LookupRules
from omniport.analyse.shapes import Const, Instance


def flags_of(forward: ast.FunctionDef) -> dict[str, set[str]]:
    """The boolean parameters under which the forward takes the shape of others apart, and the names of these."""
    parameters = [*forward.args.args, *forward.args.kwonlyargs]
    flags = {p.arg for p in parameters if p.annotation is not None and text(p.annotation) == "bool"}
    found: dict[str, set[str]] = {}
    for node in forward.body:
        name = node.test.id if isinstance(node, ast.If) and isinstance(node.test, ast.Name) else ""
        if isinstance(node, ast.If) and name in flags:
            own = set(_taken_apart(node.body)) & {p.arg for p in parameters}
            found |= {name: own | found.get(name, set())} if own else {}
    return found


def _taken_apart(body: list[ast.stmt]) -> Iterator[str]:
    for node in (node for line in body for node in ast.walk(line)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            value = node.value
            if isinstance(value, ast.Attribute) and value.attr == "shape" and isinstance(value.value, ast.Name):
                yield value.value.id


class FlagRules(LookupRules):
    """Takes such parameters for what ``flags`` says of them."""

    flags: dict[str, bool]

    def input(self, name: str, default: ast.expr | None, annotation: str) -> Any:
        return Const(self.flags[name]) if name in self.flags else super().input(name, default, annotation)

    def unpacked(self, owner: Instance, method: str, name: str, depth: int = 3) -> int:
        """Where a flag is not set, what is done under it tells nothing."""
        if owner is self.root and not all(self.flags.values()):
            asked = flags_of(self.method_of(owner.cls, method))
            if any(name in asked.get(flag, ()) for flag, given in self.flags.items() if not given):
                return 0
        return super().unpacked(owner, method, name, depth)
