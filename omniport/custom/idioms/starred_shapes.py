"""``b, s, n = *x.shape[:2], heads`` as two assignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst

from omniport.rewrite.normal.substitute import names_in
from omniport.source.syntax import constant, dotted


def starred_shapes(module: cst.Module) -> cst.Module:
    """Tuples with one starred ``x.shape[:k]`` at their head, taken apart at it."""
    changed = module.visit(_Apart())
    assert isinstance(changed, cst.Module)
    return changed


class _Apart(cst.CSTTransformer):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine]:
        part = updated_node.body[0]
        if len(updated_node.body) != 1 or not isinstance(part, cst.Assign) or len(part.targets) != 1:
            return updated_node
        target, value = part.targets[0].target, part.value
        if not isinstance(target, cst.Tuple) or not isinstance(value, cst.Tuple) or not value.elements:
            return updated_node
        first, rest = value.elements[0], value.elements[1:]
        count = _count(first)
        if count is None or not rest or any(isinstance(e, cst.StarredElement) for e in rest):
            return updated_node
        aims = [e.value for e in target.elements if isinstance(e, cst.Element)]
        if len(aims) != count + len(rest) or not all(isinstance(a, cst.Name) for a in aims):
            return updated_node
        head = {a.value for a in aims[:count] if isinstance(a, cst.Name)}
        if any(names_in(e.value) & head for e in rest):
            return updated_node  # would read the new value
        one = cst.Assign([cst.AssignTarget(_joined(aims[:count]))], first.value)
        two = cst.Assign([cst.AssignTarget(_joined(aims[count:]))], _joined([e.value for e in rest]))
        return cst.FlattenSentinel([updated_node.with_changes(body=[one]), cst.SimpleStatementLine([two])])


def _count(element: cst.BaseElement) -> int | None:
    """``k`` of a starred ``x.shape[:k]``."""
    value = element.value if isinstance(element, cst.StarredElement) else None
    if not isinstance(value, cst.Subscript) or not (dotted(value.value) or "").endswith(".shape"):
        return None
    index = value.slice[0].slice
    if len(value.slice) != 1 or not isinstance(index, cst.Slice) or index.lower is not None or index.step is not None:
        return None
    upper = constant(index.upper)
    return upper if isinstance(upper, int) and upper > 0 else None


def _joined(values: Sequence[cst.BaseExpression]) -> Any:
    if len(values) == 1:
        return values[0]
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    last = len(values) - 1
    elements = [cst.Element(v, comma if i < last else cst.MaybeSentinel.DEFAULT) for i, v in enumerate(values)]
    return cst.Tuple(elements, lpar=(), rpar=())
