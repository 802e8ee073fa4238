"""Modules of the reference that a root makes in its constructor, and what its forward gets of them: tables, mostly."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping

from omniport.records import dataclass
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceModule, SourceTree


@dataclass(frozen=True)
class Maker:
    """``self.attribute`` is a ``called`` of the root; it is defined in ``source`` as ``node``."""

    attribute: str
    called: str
    source: SourceModule
    node: ast.ClassDef


def makers(
    tree: SourceTree, root: ast.ClassDef, imported: Mapping[str, str], attributes: Collection[str]
) -> Iterator[Maker]:
    """Those of ``attributes`` that the root's constructor makes of a class of the reference.

    Args:
        tree: the reference.
        root: the root class in normal form.
        imported: names that its module imports from the reference, with the modules they are defined in.
    """
    for line in methods(root)["__init__"].body if attributes else ():
        if not (isinstance(line, ast.Assign) and isinstance(line.value, ast.Call)):
            continue
        target, cls = line.targets[0], line.value.func
        if not (isinstance(target, ast.Attribute) and target.attr in attributes and isinstance(cls, ast.Name)):
            continue
        place = tree.resolve(imported[cls.id], cls.id) if cls.id in imported else None
        if place is not None and place[0].definitions.is_class(place[1]):
            yield Maker(target.attr, cls.id, place[0], place[0].class_def(place[1]))


def kept_calls(forward: ast.FunctionDef) -> Iterator[tuple[str, ast.expr, ast.Call]]:
    """``rope``, what gets it, and the call, of each line ``tables = self.rope(...)``."""
    for node in each_node(forward):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.targets) == 1):
            continue
        owner = node.value.func
        if isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "self":
            yield owner.attr, node.targets[0], node.value


def plain_module(node: ast.ClassDef) -> bool:
    """Whether a class is an ``nn.Module`` and nothing else, with a constructor and a forward of its own."""
    return {"__init__", "forward"} <= methods(node).keys() and [ast.unparse(b) for b in node.bases] == ["nn.Module"]
