"""A class of the reference as one group of call sites uses it: the unit of specialisation."""

from __future__ import annotations

import functools
from dataclasses import field, replace

import libcst as cst

from omniport.analyse.values import UNKNOWN, Reference, Value, join
from omniport.records import dataclass
from omniport.source.tree import SourceModule

#: Marks a node that was decided differently on different visits.
UNDECIDED = object()


@dataclass(frozen=True)
class Swap:
    """A processor that is set at ``place``; ``left`` are the attributes from here to the attention module."""

    place: str
    processor: Reference
    left: tuple[str, ...]


@dataclass
class Variant:
    """One specialisation.

    ``arguments`` are the facts of the constructor's parameters, ``attributes`` of ``self``, ``inputs`` of the forward's
    parameters over all its call sites.  ``decided`` holds, by node, what a condition or a name always evaluates to.
    """

    key: str
    origin: Reference
    tree: cst.ClassDef
    scopes: tuple[SourceModule, ...]
    arguments: dict[str, Value]
    constants: dict[str, Value]
    attributes: dict[str, Value] = field(default_factory=dict)
    inputs: dict[str, Value] | None = None
    result: Value = UNKNOWN
    done: bool = False
    owners: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)  # attributes that only some constructions assign
    swaps: tuple[
        Swap, ...
    ] = ()  # processors that others set on modules below, or, with no attributes left, on this one
    assigning: str = ""  # the attribute of ``self`` that the value being evaluated goes to

    @functools.cached_property
    def methods(self) -> dict[str, cst.FunctionDef]:
        return {node.name.value: node for node in self.tree.body.body if isinstance(node, cst.FunctionDef)}

    def set_below(self) -> tuple[Swap, ...]:
        """What is set on the module, and those below, that the attribute being assigned gets."""
        below = (swap for swap in self.swaps if swap.left[:1] == (self.assigning,))
        return tuple(replace(swap, left=swap.left[1:]) for swap in below)

    @property
    def facts(self) -> dict[str, dict[str, Value]]:
        """What is known of the parameters, by function."""
        return {"__init__": self.arguments, "forward": self.inputs or {}}

    def widen(self, inputs: dict[str, Value]) -> bool:
        """Join the facts of one more forward call; True if anything changed."""
        if self.inputs is None:
            self.inputs = dict(inputs)
            return True
        new = {name: join(value, inputs.get(name, UNKNOWN)) for name, value in self.inputs.items()}
        changed = new != self.inputs
        self.inputs = new
        return changed


@dataclass
class Notes:
    """What the interpreter saw at each node, over all visits of one round."""

    truths: dict[cst.CSTNode, object] = field(default_factory=dict)
    values: dict[cst.CSTNode, object] = field(default_factory=dict)
    targets: dict[cst.CSTNode, object] = field(default_factory=dict)

    @staticmethod
    def note(table: dict[cst.CSTNode, object], node: cst.CSTNode, value: object) -> None:
        """Record ``value``; a second, different value makes the node undecided."""
        if node in table and table[node] != value:
            table[node] = UNDECIDED
        else:
            table.setdefault(node, value)
