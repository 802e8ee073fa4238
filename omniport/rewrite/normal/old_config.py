"""``deprecate(...)`` in a constructor that goes on with an outdated config: the port goes on, too, and says nothing.

diffusers raises from such a call once its version has come, whatever the config is.
"""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def drop_deprecations(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` without these calls in its constructor; the same object if there is none."""
    init = next((m for m in node.body.body if isinstance(m, cst.FunctionDef) and m.name.value == "__init__"), None)
    if init is None or not any(map(_deprecates, of_kind(init, cst.Call))):
        return node
    new = transform(init, _Drop())
    return node.with_changes(body=node.body.with_changes(body=[new if m is init else m for m in node.body.body]))


def _deprecates(call: cst.Call) -> bool:
    return dotted(call.func) == "deprecate"


class _Drop(cst.CSTTransformer):
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        kept = [s for s in updated_node.body if not _only_deprecates(s)]
        if len(kept) == len(updated_node.body):
            return updated_node
        return updated_node.with_changes(body=kept or [cst.SimpleStatementLine([cst.Pass()])])


def _only_deprecates(node: cst.BaseStatement) -> bool:
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1:
        return False
    part = node.body[0]
    return isinstance(part, cst.Expr) and isinstance(part.value, cst.Call) and _deprecates(part.value)
