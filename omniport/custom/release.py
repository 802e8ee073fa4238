"""Denoisers that write the loop of another package's model anew: they hold for the release they were written against.

A class that inherits from a model of transformers and overrides its ``forward`` calls the layers of that model itself.
What those take and return is no interface: release 5 hands them the rotary tables and gets a tensor back, where release
4.45 hands over positions and gets a tuple.  Which release is meant shows in no source: a loop of the old form is
written as the installed release has it (:mod:`omniport.custom.decoder_loops`), any other is left to the porter.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from importlib.metadata import version

from omniport.custom.slice import Slice
from omniport.custom.todo import todo
from omniport.plan.model import Decision, Why
from omniport.records import dataclass

_PACKAGES = ("transformers",)
_BARE = frozenset({"PreTrainedModel", "GenerationMixin", "ModelMixin"})  # they have no layers


@dataclass(frozen=True)
class OtherLoop:
    """A class that calls the layers of ``base`` itself."""

    name: str
    base: str
    why: Why


def other_loops(found: Slice) -> tuple[OtherLoop, ...]:
    """Classes of the slice that override the forward of a model with layers of another package."""
    names = {f.name: f for f in found.foreign if f.module.split(".")[0] in _PACKAGES and f.attribute not in _BARE}
    loops: list[OtherLoop] = []
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
                alias = names[bases[0]].attribute if bases[0] in names else None
                loops.append(OtherLoop(node.name, alias or bases[0].rpartition(".")[2], why))
    return tuple(loops)


def as_installed(found: Slice, text: str) -> tuple[str, tuple[Decision, ...], tuple[Decision, ...]]:
    """``text`` of the slice with such loops rewritten for the installed release, what was decided, and what is left."""
    loops = other_loops(found)
    if not loops:
        return text, (), ()
    from omniport.custom.decoder_loops import current_loops

    outputs = frozenset(f.name for f in found.foreign if f.module == "transformers.modeling_outputs")
    text, left = current_loops(text, {loop.name: loop.base for loop in loops}, outputs)
    made = [
        Decision(
            f"layers of {loop.base}",
            loop.name,
            Why(f"called as transformers {version('transformers')} calls them", loop.why.file, loop.why.line),
        )
        for loop in loops
        if loop.name not in left
    ]
    todos = [
        todo("BASE", f"{loop.why.reason}: {left[loop.name]}", replace(loop.why, reason=left[loop.name]))
        for loop in loops
        if loop.name in left
    ]
    return text, tuple(made), tuple(todos)
