"""Tables that a module makes on the host go to the device once, in the root's forward, not in every block."""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.analyse.host_tables import SUBJECT
from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import code, expression, self_attribute
from omniport.source.transform import transform


def place_tables(root: cst.ClassDef, plan: TransformerPlan, kept: Collection[str] = ()) -> cst.ClassDef:
    """``root`` with ``tables = self.rope(x)`` moved to the device of ``x``; the same object if nothing is to move.

    Args:
        root: the class that the pipeline calls.
        plan: what was decided about it.
        kept: its modules that keep their tables where they are used (:mod:`omniport.rewrite.size_tables`).
    """
    subjects = [d.subject for d in plan.decisions if d.subject.startswith(f"{SUBJECT} ")]
    names = {subject.rpartition(" ")[2] for subject in subjects}.difference(kept)
    if not names:
        return root
    changed = transform(root, _Place(names))
    assert isinstance(changed, cst.ClassDef)
    return changed


class _Place(cst.CSTTransformer):
    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        call = updated_node.value
        if not isinstance(call, cst.Call) or self_attribute(call.func) not in self.names or len(call.args) != 1:
            return updated_node
        moved = f"tuple(table.to({code(call.args[0].value)}.device) for table in {code(call)})"
        return updated_node.with_changes(value=expression(moved))
