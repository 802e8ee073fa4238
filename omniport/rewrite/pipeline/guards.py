"""``dtype = dtype or self.text_encoder.dtype`` in a method to which no call gives a dtype: the second one it is."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import bound, changed, indented, reads, suite
from omniport.source.syntax import dotted


def unguarded(method: cst.FunctionDef, name: str) -> cst.FunctionDef | None:
    """``method`` where parameter ``name`` is None: its first mention, a line that replaces None, without the question.

    None if it is first mentioned in another way.
    """
    block = suite(method.body)
    for index, node in enumerate(block):
        if name not in reads(node) and name not in bound([node]):
            continue
        small = node.body[0] if isinstance(node, cst.SimpleStatementLine) else None
        if not isinstance(small, cst.Assign) or len(small.targets) > 1 or dotted(small.targets[0].target) != name:
            return None
        value = _otherwise(small.value, name)
        if value is None or name in reads(value):
            return None
        assert isinstance(node, cst.SimpleStatementLine)
        line = node.with_changes(body=[small.with_changes(value=value)])
        return changed(method, body=indented([*block[:index], line, *block[index + 1 :]], method.body))
    return None


def _otherwise(value: cst.BaseExpression, name: str) -> cst.BaseExpression | None:
    """``b`` of ``name or b``, of ``b if name is None else name`` and of ``name if name is not None else b``."""
    if isinstance(value, cst.BooleanOperation) and isinstance(value.operator, cst.Or):
        return value.right if dotted(value.left) == name else None
    if not isinstance(value, cst.IfExp) or not isinstance(value.test, cst.Comparison):
        return None
    asked = value.test.comparisons[0]
    if dotted(value.test.left) != name or len(value.test.comparisons) > 1 or dotted(asked.comparator) != "None":
        return None
    if isinstance(asked.operator, cst.Is) and dotted(value.orelse) == name:
        return value.body
    if isinstance(asked.operator, cst.IsNot) and dotted(value.body) == name:
        return value.orelse
    return None
