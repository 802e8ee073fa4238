"""Which statements of a forward may call attention: behind the last of them there are no blocks to be found."""

from __future__ import annotations

import ast
from collections.abc import Set
from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.places import attention_sites
from omniport.analyse.sequence.liveness import mentioned
from omniport.analyse.sequence.records import AllAttending
from omniport.analyse.shapes import Closure, Instance, modules_in
from omniport.source.nodes import each_node, methods


class Attending:
    """What of one model calls attention, in the forward of its root."""

    def __init__(self, walk: Any, env: Env) -> None:
        """``walk`` has constructed the model; ``env`` are the names of the forward at any time."""
        self.env, self.noted = env, -1
        imported = ast.Module([walk.classes[name] for name in walk.imported], [])
        self.classes = frozenset(walk.attending | attention_sites(imported).keys())
        self.forward = walk.method_of(walk.root.cls, "forward").body
        held = {name for name, value in walk.root.attributes.items() if self.holds(value)}
        self.or_all: set[str | None] = {None, *held}  # attributes of the root; None: it is mentioned as a whole
        own = methods(walk.classes[walk.root.cls])
        count = 0
        while count < len(self.or_all):  # methods that use such modules, and methods that use those
            count = len(self.or_all)
            self.or_all |= {name for name, function in own.items() if self.uses(function)} - {"__init__", "forward"}

    def holds(self, value: Any) -> bool:
        """Whether a value holds such modules; a function that sees the names of the forward may."""
        if isinstance(value, Closure):
            return True
        return any(isinstance(module, Instance) and module.cls in self.classes for module in modules_in(value))

    def uses(self, node: ast.stmt, names: Set[str] = frozenset()) -> bool:
        """Whether ``node`` mentions one of ``names``, an attribute of ``self`` that is such a module, or all of it."""
        return not mentioned([node]).isdisjoint(names) or not _of_self(node).isdisjoint(self.or_all)

    def attended(self, at: int) -> None:
        """Note that the ``at``-th statement of the forward has called attention.

        Raises:
            AllAttending: no statement behind it can.
        """
        if at != self.noted:
            self.noted = at
            names = {name for name, value in self.env.items() if name != "self" and self.holds(value)}
            if not any(self.uses(node, names) for node in self.forward[at + 1 :]):
                raise AllAttending


def _of_self(node: ast.AST) -> frozenset[str | None]:
    """Attributes of ``self`` that ``node`` mentions, and None if it mentions ``self`` otherwise; kept with the node."""
    kept: frozenset[str | None] | None = node.__dict__.get("_of_self")
    if kept is None:
        parts = each_node(node)
        owners = {id(part.value): part.attr for part in parts if isinstance(part, ast.Attribute)}
        found = (part for part in parts if isinstance(part, ast.Name) and part.id == "self")
        kept = node.__dict__["_of_self"] = frozenset(owners.get(id(part)) for part in found)
    return kept
