"""A value that is named only to be returned is returned: ``x = f(y)`` and ``return x`` are one line.

The annotations of what functions take and return are put right on the way.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.optional_types import with_optional_types
from omniport.rewrite.return_types import with_return_type
from omniport.rewrite.syntax import assignment, code, single
from omniport.source.transform import transform

WIDTH = 120  # columns, as in the target's ruff settings
_INDENT = 4


def return_values(module: cst.Module) -> cst.Module:
    """``module`` with such pairs joined; the same object if there is none.

    A pair stays where a comment stands between or beside, where the line would not fit, and where the function shares
    the name with another (``global``, ``nonlocal``).
    """
    made = transform(module, _Join())
    assert isinstance(made, cst.Module)
    return made


def joined_returns(function: cst.FunctionDef, depth: int) -> cst.FunctionDef:
    """``function``, that stands ``depth`` blocks deep, with such pairs joined and its annotations as they are."""
    made = transform(function, _Pairs(depth))
    assert isinstance(made, cst.FunctionDef)
    return made


class _Pairs(cst.CSTTransformer):
    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.shared: set[str] = set()

    def visit_Global(self, node: cst.Global) -> None:
        self.shared |= {item.name.value for item in node.names}

    def visit_Nonlocal(self, node: cst.Nonlocal) -> None:
        self.shared |= {item.name.value for item in node.names}

    def visit_IndentedBlock(self, node: cst.IndentedBlock) -> None:
        self.depth += 1

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        depth, self.depth = self.depth, self.depth - 1
        body = list(updated_node.body)
        if len(body) < 2:
            return updated_node
        pair, last = assignment(body[-2]), body[-1]
        returned = single(last)
        if pair is None or not isinstance(pair[0], cst.Name) or not isinstance(returned, cst.Return):
            return updated_node
        name = pair[0].value
        if not isinstance(returned.value, cst.Name) or returned.value.value != name or name in self.shared:
            return updated_node
        first = body[-2]
        assert isinstance(first, cst.SimpleStatementLine) and isinstance(last, cst.SimpleStatementLine)
        remarks = [line.comment for line in last.leading_lines] + [s.trailing_whitespace.comment for s in (first, last)]
        text = code(pair[1])
        if any(remarks) or "\n" in text or _INDENT * depth + len(f"return {text}") > WIDTH:
            return updated_node
        joined = last.with_changes(leading_lines=first.leading_lines, body=[returned.with_changes(value=pair[1])])
        return updated_node.with_changes(body=[*body[:-2], joined])


class _Join(_Pairs):
    def __init__(self) -> None:
        super().__init__()
        self.returned: list[list[cst.Return]] = []

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.returned.append([])

    def visit_Return(self, node: cst.Return) -> None:
        self.returned[-1].append(node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        params = with_optional_types(updated_node.params)
        if params is not updated_node.params:
            updated_node = updated_node.with_changes(params=params)
        return with_return_type(updated_node, self.returned.pop())
