"""The scheduler's step of a round, made by the guidance mixin where it takes prediction, time and latents only."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, bare, parse, same
from omniport.rewrite.pipeline.walk import calls
from omniport.source.syntax import code


def only_step(body: Block) -> int | None:
    """Index of the only ``x = self.scheduler.step(prediction, t, x, return_dict=False)[0]``."""
    found = None
    for index, node in enumerate(body):
        for call in calls(node, "self.scheduler.step"):
            if found is not None or not isinstance(node, cst.SimpleStatementLine):
                return None
            assign = node.body[0]
            if not isinstance(assign, cst.Assign) or len(call.args) != 4 or len(assign.targets) != 1:
                return None
            value = bare(assign.value)
            plain = [a.keyword is None and not a.star for a in call.args] == [True, True, True, False]
            last = call.args[3]
            keyword = last.keyword.value if last.keyword else ""
            if not (isinstance(value, cst.Subscript) and value.value is call and code(value.slice[0]).strip() == "0"):
                return None
            if not plain or (keyword, code(last.value)) != ("return_dict", "False"):
                return None
            if not same(assign.targets[0].target, call.args[2].value):
                return None
            found = index
    return found


def stepped(rest: Block, place: int, guard: str) -> Block:
    old = rest[place]
    assert isinstance(old, cst.SimpleStatementLine) and isinstance(old.body[0], cst.Assign)
    value = bare(old.body[0].value)
    assert isinstance(value, cst.Subscript) and isinstance(value.value, cst.Call)
    target = code(old.body[0].targets[0].target)
    given = ", ".join(code(a.value) for a in value.value.args[:3])
    new = parse(f"{target} = self.scheduler_step_maybe_with_cfg({given}, {guard})\n")
    return [*rest[:place], new[0].with_changes(leading_lines=old.leading_lines), *rest[place + 1 :]]
