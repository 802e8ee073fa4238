"""Lines ``x = x``, which are left of a turn or a cast that went."""

from __future__ import annotations

import libcst as cst

from omniport.source.transform import transform
from omniport.source.walk import of_kind


def without_idle_lines(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` without such lines, whose comments the next line takes over; the same object if there is none."""
    if not any(_idle(line) for line in of_kind(function, cst.SimpleStatementLine)):
        return function
    new = transform(function, _Drop())
    assert isinstance(new, cst.FunctionDef)
    return new


def _idle(line: cst.BaseStatement) -> bool:
    small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return False
    target, value = small.targets[0].target, small.value
    return isinstance(target, cst.Name) and isinstance(value, cst.Name) and target.value == value.value


class _Drop(cst.CSTTransformer):
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body: list[cst.BaseStatement] = []
        above: list[cst.EmptyLine] = []
        for line in updated_node.body:
            if _idle(line):
                above += line.leading_lines  # type: ignore[attr-defined]
            elif above and hasattr(line, "leading_lines"):
                body.append(line.with_changes(leading_lines=[*above, *line.leading_lines]))
                above = []
            else:
                body.append(line)
        if len(body) == len(updated_node.body):
            return updated_node
        return updated_node.with_changes(body=body or [cst.SimpleStatementLine([cst.Pass()])])
