"""Sequence-parallel plans as ports write them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.port import Port
from omniport.check.source import SourceFile, class_attributes, constant, keyword, last_name, walk
from omniport.records import dataclass

SPLITS = ("SequenceParallelInput", "SequenceParallelPartialInput")
GATHER = "SequenceParallelOutput"


@dataclass(frozen=True)
class PlanEntry:
    """What a plan does at one module: ``splits`` maps a parameter name or output index to its call."""

    file: SourceFile
    cls: ast.ClassDef
    key: ast.Constant
    module: str
    splits: tuple[tuple[ast.Constant, ast.Call], ...]
    gathers: tuple[ast.Call, ...]

    @property
    def first(self) -> str:
        """The attribute of the transformer that the module path starts with; empty for the transformer itself."""
        return self.module.split(".")[0]


def plans(port: Port) -> Iterator[tuple[SourceFile, ast.ClassDef, ast.Dict]]:
    """Every ``_sp_plan`` that a class of the port writes out as a dict with entries."""
    for file in port.files:
        if file.mentions("_sp_plan"):
            for cls in file.nodes(ast.ClassDef):
                plan = class_attributes(cls).get("_sp_plan")
                if isinstance(plan, ast.Dict) and plan.values:
                    yield file, cls, plan


def entries(file: SourceFile, cls: ast.ClassDef, plan: ast.Dict) -> Iterator[PlanEntry]:
    """The entries of a plan whose keys are literals."""
    for key, value in zip(plan.keys, plan.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        splits = [
            (name, call)
            for name, call in (zip(value.keys, value.values, strict=True) if isinstance(value, ast.Dict) else ())
            if isinstance(name, ast.Constant) and isinstance(call, ast.Call) and last_name(call.func) in SPLITS
        ]
        gathers = [n for n in walk(value) if isinstance(n, ast.Call) and last_name(n.func) == GATHER]
        yield PlanEntry(file, cls, key, key.value, tuple(splits), tuple(gathers))


def all_entries(port: Port) -> Iterator[PlanEntry]:
    for file, cls, plan in plans(port):
        yield from entries(file, cls, plan)


def switched_on(call: ast.Call, name: str) -> bool:
    """Whether a switch of an entry is the literal True."""
    return constant(keyword(call, name)) is True
