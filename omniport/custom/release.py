"""Denoisers that write the loop of another package's model anew: they hold for the release they were written against.

A class that inherits from a model of transformers and overrides its ``forward`` calls the layers of that model itself.
What those take and return is no interface: release 5 hands them the rotary tables and gets a tensor back, where release
4.45 hands over positions and gets a tuple.  Which release is meant shows in no source, so it is left to the porter.
"""

from __future__ import annotations

import ast

from omniport.custom.slice import Slice
from omniport.custom.todo import todo
from omniport.plan.model import Decision, Why

_PACKAGES = ("transformers",)
_BARE = frozenset({"PreTrainedModel", "GenerationMixin", "ModelMixin"})  # they have no layers


def loops_of_another_release(found: Slice) -> tuple[Decision, ...]:
    """A TODO for each class of the slice that overrides the forward of a model with layers of another package."""
    names = {f.name for f in found.foreign if f.module.split(".")[0] in _PACKAGES and f.attribute not in _BARE}
    left: list[Decision] = []
    for piece in found.pieces:
        for node in ast.parse(piece.text).body:
            if not isinstance(node, ast.ClassDef):
                continue
            written = [ast.unparse(base) for base in node.bases]
            bases = [b for b in written if b.split(".")[0] in names and b.rpartition(".")[2] not in _BARE]
            forward = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
            if bases and forward is not None:
                why = Why(
                    f"{node.name} has a forward of its own in place of that of {bases[0]}, whose layers it calls",
                    piece.file,
                    piece.line + forward.lineno - 1,
                )
                left.append(todo("BASE", why.reason, why))
    return tuple(left)
