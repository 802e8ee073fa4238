"""What an attention layer gives has the precision of its query: a cast to that precision does nothing.

The reference casts because its backends may not keep it; vLLM-Omni's do (``diffusion/attention/backends``).
"""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.rewrite.syntax import assignment, code, self_attribute
from omniport.source.transform import transform

#: Methods of a tensor that leave its precision as it is.
_SHAPING = frozenset({"contiguous", "flatten", "reshape", "transpose", "unflatten", "view"})


def drop_casts(function: cst.FunctionDef, layers: Collection[str]) -> cst.FunctionDef:
    """``function`` without casts of what one of ``layers`` gave to the dtype of its query, which is a local."""
    made = transform(function, _Drop(layers))
    assert isinstance(made, cst.FunctionDef)
    return made


class _Drop(cst.CSTTransformer):
    def __init__(self, layers: Collection[str]) -> None:
        self.layers = layers

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        query_of: dict[str, str] = {}  # what a layer gave -> the query that it was given
        body: list[cst.BaseStatement] = []
        for line in updated_node.body:
            if isinstance(line, cst.SimpleStatementLine):
                left = self._without_cast(line, query_of)
                body += [left] if left is not None else []
            else:
                query_of.clear()  # a branch or a loop may assign anything
                body.append(line)
        same = len(body) == len(updated_node.body) and all(a is b for a, b in zip(body, updated_node.body, strict=True))
        return updated_node if same else updated_node.with_changes(body=body)

    def _without_cast(self, line: cst.SimpleStatementLine, query_of: dict[str, str]) -> cst.SimpleStatementLine | None:
        """``line`` without the cast, None if it is nothing else; ``query_of`` is brought up to date."""
        small = line.body[0]
        if isinstance(small, cst.Return) and small.value is not None and (name := _cast(small.value, query_of)):
            return line.with_changes(body=[small.with_changes(value=cst.Name(name))])
        pair = assignment(line)
        if pair is None:
            if not isinstance(small, cst.Expr | cst.Return):
                query_of.clear()
            return line
        target, value = pair
        if not isinstance(target, cst.Name):
            query_of.clear()
            return line
        if _cast(value, query_of) == target.value:
            return None
        query = self._query(value) or (query_of.get(target.value, "") if _shaped(value) == target.value else "")
        for name, used in list(query_of.items()):
            if target.value in (name, used):
                del query_of[name]
        if query and query != target.value:
            query_of[target.value] = query
        return line

    def _query(self, value: cst.BaseExpression) -> str:
        """The query's name in ``self.<layer>(query, ...)``."""
        if not isinstance(value, cst.Call) or self_attribute(value.func) not in self.layers or not value.args:
            return ""
        first = value.args[0]
        return first.value.value if isinstance(first.value, cst.Name) and not first.keyword and not first.star else ""


def _cast(value: cst.BaseExpression, query_of: dict[str, str]) -> str:
    """The name in ``name.to(query.dtype)``."""
    if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute) or value.func.attr.value != "to":
        return ""
    name = code(value.func.value)
    return name if [code(arg) for arg in value.args] == [f"{query_of.get(name)}.dtype"] else ""


def _shaped(value: cst.BaseExpression) -> str:
    """The name in ``name.flatten(2, 3)``."""
    if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute):
        return ""
    return code(value.func.value) if value.func.attr.value in _SHAPING else ""
