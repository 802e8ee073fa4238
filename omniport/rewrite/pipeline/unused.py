"""What of a pipeline class nothing uses: its variables, attributes that are only written, arguments of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import libcst as cst

from omniport.rewrite.pipeline.blocks import pure
from omniport.rewrite.pipeline.walk import attributes
from omniport.source.syntax import dotted
from omniport.source.transform import transform

PartT = TypeVar("PartT", cst.Arg, cst.Param)


def class_variables(node: cst.ClassDef, methods: dict[str, cst.FunctionDef]) -> tuple[cst.SimpleStatementLine, ...]:
    """The class variables with a value that ``methods`` read."""
    read = {n for m in methods.values() for n in attributes(m)}
    found = []
    for statement in node.body.body:
        if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Assign | cst.AnnAssign):
            small = statement.body[0]
            if small.value is None:
                continue  # the constructor of a port says what its components are
            target = small.targets[0].target if isinstance(small, cst.Assign) else small.target
            if dotted(target) in read:
                found.append(statement)
    return tuple(found)


def is_dead_store(line: cst.SimpleStatementLine, read: set[str]) -> bool:
    """Pure ``self._x = value`` for an attribute not in ``read``."""
    small = line.body[0]
    if len(line.body) != 1 or not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return False
    name = dotted(small.targets[0].target) or ""
    return name.startswith("self._") and name[5:] not in read and pure(small.value)


def without_last_comma(parts: Sequence[PartT]) -> list[PartT]:
    """Arguments or parameters that may stand on one line now: a comma behind the last keeps each on its own."""
    new = list(parts)
    if new:
        new[-1] = new[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return new


def without_argument(body: cst.FunctionDef, functions: set[str], name: str, position: int) -> cst.FunctionDef:
    """``body`` with calls of ``functions`` that leave out parameter ``name``, the one at ``position``."""
    drop = _DropArgument(functions, name, position)
    new = transform(body, drop)
    return new if drop.changed else body


class _DropArgument(cst.CSTTransformer):
    def __init__(self, functions: set[str], name: str, position: int) -> None:
        self.functions, self.name, self.position, self.changed = functions, name, position, False

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) not in self.functions:
            return updated_node
        kept = [
            a
            for i, a in enumerate(updated_node.args)
            if not (a.keyword.value == self.name if a.keyword else i == self.position)
        ]
        if len(kept) == len(updated_node.args):
            return updated_node
        self.changed = True
        return updated_node.with_changes(args=without_last_comma(kept))
