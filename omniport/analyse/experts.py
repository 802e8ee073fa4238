"""Packed experts that the ranks can share: weights ``[experts, in, out]``, rows sorted by expert, as many for each."""

from __future__ import annotations

import ast

from omniport.analyse import library
from omniport.analyse.syntax import text
from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm

SUBJECT = "experts "


def experts(normal: NormalForm) -> tuple[Decision, ...]:
    """What becomes of each module of packed experts: "sharded", or "whole" with the reason."""
    module = normal.tree
    known = {
        name.asname or name.name: library.EXPERTS[f"{node.module}.{name.name}"]
        for node in module.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if f"{node.module}.{name.name}" in library.EXPERTS
    }
    return tuple(
        found for node in module.body if isinstance(node, ast.ClassDef) for found in _held(normal, node, known)
    )


def _held(normal: NormalForm, cls: ast.ClassDef, known: dict[str, tuple[str, ...]]) -> list[Decision]:
    found = []
    for node in each_node(cls):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        name, attribute = text(node.value.func), text(node.targets[0])
        if name not in known or not attribute.startswith("self."):
            continue
        reason = _whole(cls, attribute, node.value, known[name])
        origin = normal.origin(node.lineno)
        why = Why(reason or "each rank holds its run of every expert's inner width: one all-reduce", *_at(origin))
        path = f"{cls.name}.{attribute.removeprefix('self.')}"
        found.append(Decision(f"{SUBJECT}{path}", "whole" if reason else "sharded", why))
    return found


def _at(origin: object) -> tuple[str, int]:
    return getattr(origin, "file", ""), getattr(origin, "line", 0)


def _whole(cls: ast.ClassDef, attribute: str, made: ast.Call, sizes: tuple[str, ...]) -> str:
    """Why the experts stay whole; empty if they need not."""
    if made.args or not set(sizes) <= {keyword.arg for keyword in made.keywords}:
        return "their sizes are not given by name"
    for function in (f for f in cls.body if isinstance(f, ast.FunctionDef)):
        for node in each_node(function):
            if isinstance(node, ast.Call) and text(node.func) == attribute:
                counts = node.args[1] if len(node.args) == 2 else None
                if not isinstance(counts, ast.Name) or not _equal(function, counts.id):
                    return "they may have different numbers of rows"
    return ""


def _equal(function: ast.FunctionDef, counts: str) -> bool:
    """Whether a local is one number, repeated for each expert."""
    lines = [n for n in each_node(function) if isinstance(n, ast.Assign) and text(n.targets[0]) == counts]
    value = lines[0].value if len(lines) == 1 else None
    return isinstance(value, ast.Call) and text(value.func) == "torch.full"
