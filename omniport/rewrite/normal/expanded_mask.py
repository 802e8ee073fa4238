"""An attention mask over keys is not expanded to heads and queries: every attention function broadcasts it.

``mask[:, None, None, :].expand(-1, heads, queries, -1)`` says the same as ``mask[:, None, None, :]``, and so it does if
the two axes of one entry come from ``view(batch, 1, 1, -1)`` in the line above.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk

_ONES = {":,None,None,:", ":,None,None", "...,None,None,:"}


def unexpanded_masks(node: cst.ClassDef, _: Usage) -> cst.ClassDef:
    """``node`` with its masks left to broadcasting; the same object if none is expanded."""
    if not any(
        isinstance(call.func, cst.Attribute) and call.func.attr.value == "expand" for call in of_kind(node, cst.Call)
    ):
        return node
    new = transform(node, _Unexpanded())
    assert isinstance(new, cst.ClassDef)
    return new


class _Unexpanded(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if not isinstance(updated_node.body, cst.IndentedBlock):
            return updated_node
        for line in of_kind(updated_node.body, cst.SimpleStatementLine):
            name, operand = _expanded(line)
            if operand is None or not _masks_only(updated_node, line, name):
                continue
            made = transform(updated_node, _Line(line, operand))
            if made is not updated_node:
                assert isinstance(made, cst.FunctionDef)
                return made
        return updated_node


class _Line(cst.CSTTransformer):
    """The line without its expansion, if the axes that it expands have one entry."""

    def __init__(self, line: cst.SimpleStatementLine, operand: cst.BaseExpression) -> None:
        self.line, self.operand = line, operand

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = list(original_node.body)
        at = next((at for at, item in enumerate(body) if item is self.line), None)
        if at is None:
            return updated_node
        made = list(updated_node.body)
        if _of_one(self.operand):
            assign = self.line.body[0]
            assert isinstance(assign, cst.Assign)
            made[at] = self.line.with_changes(body=[assign.with_changes(value=self.operand)])
        elif at and _of_one(_assigned(body[at - 1], code(self.operand))):
            del made[at]
        else:
            return updated_node
        return updated_node.with_changes(body=made)


def _expanded(line: cst.SimpleStatementLine) -> tuple[str, cst.BaseExpression | None]:
    """``name = operand.expand(-1, heads, queries, -1)``: name and operand."""
    assign = line.body[0] if len(line.body) == 1 else None
    if not isinstance(assign, cst.Assign) or len(assign.targets) != 1 or not isinstance(assign.value, cst.Call):
        return "", None
    target, call = assign.targets[0].target, assign.value
    if not isinstance(target, cst.Name) or not isinstance(call.func, cst.Attribute) or call.func.attr.value != "expand":
        return "", None
    sizes = [code(arg.value) for arg in call.args if arg.keyword is None and not arg.star]
    fits = len(sizes) == len(call.args) == 4 and sizes[0] == sizes[3] == "-1"
    return (target.value, call.func.value) if fits else ("", None)


def _assigned(line: cst.CSTNode, name: str) -> cst.BaseExpression | None:
    """What a line assigns to ``name``."""
    assign = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    if not isinstance(assign, cst.Assign) or [code(target.target) for target in assign.targets] != [name]:
        return None
    return assign.value


def _of_one(value: cst.BaseExpression | None) -> bool:
    """Whether the two middle axes of four have one entry."""
    if isinstance(value, cst.Subscript):
        return "".join(code(item) for item in value.slice).replace(" ", "").rstrip(",") in _ONES
    if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute):
        return False
    sizes = [code(arg.value) for arg in value.args]
    return value.func.attr.value in ("view", "reshape") and len(sizes) == 4 and sizes[1:3] == ["1", "1"]


def _masks_only(function: cst.FunctionDef, line: cst.SimpleStatementLine, name: str) -> bool:
    """Whether all that reads ``name`` behind ``line`` is attention, as its mask."""
    behind, read, masks = False, 0, 0
    for part in walk(function.body):
        behind = behind or part is line
        if not behind:
            continue
        read += isinstance(part, cst.Name) and part.value == name
        named = isinstance(part, cst.Arg) and part.keyword is not None and part.keyword.value == "attn_mask"
        masks += named and isinstance(part, cst.Arg) and code(part.value) == name
    own = sum(isinstance(part, cst.Name) and part.value == name for part in walk(line))
    return masks > 0 and read - own == masks
