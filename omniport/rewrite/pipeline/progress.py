"""``with self.progress_bar(total=n) as bar: for i, t in enumerate(ts)`` to ``for t in self.progress_bar(ts)``."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, indented, pure, reads, statements, suite
from omniport.rewrite.pipeline.walk import calls, target_names
from omniport.source.syntax import code, dotted


def iterate_with_bar(block: Block) -> Block:
    """The block with its progress bar iterated over, where the loop only reports each round to it.

    The reference counts a round when a scheduler of higher order has finished a step; counting every round differs
    only in what the bar shows.
    """
    return [_with_bar(s) if isinstance(s, cst.With) else s for s in block]


def _with_bar(node: cst.With) -> Statement:
    body = suite(node.body)
    if len(node.items) != 1 or len(body) != 1 or not isinstance(body[0], cst.For) or body[0].orelse is not None:
        return node
    bar = node.items[0].asname
    opening = calls(node.items[0], "self.progress_bar")
    if bar is None or not isinstance(bar.name, cst.Name) or not opening or opening[0] is not node.items[0].item:
        return node
    loop, name = body[0], bar.name.value
    rounds = suite(loop.body)
    updates = [s for s in rounds if _updates(s, name)]
    rest = [s for s in rounds if s not in updates]
    if len(updates) != 1 or any(name in reads(s) for s in rest) or not rest:
        return node
    iterated, target = loop.iter, loop.target
    counted = isinstance(iterated, cst.Call) and dotted(iterated.func) == "enumerate" and len(iterated.args) == 1
    if counted:
        assert isinstance(iterated, cst.Call)
        iterated = iterated.args[0].value
    if not isinstance(iterated, cst.Name):
        return node
    shown = f"self.progress_bar({iterated.value})"
    if counted and isinstance(target, cst.Tuple) and len(target.elements) == 2:
        counter = target_names(target.elements[0].value)
        if counter & set(reads(*rest)) or any(counter & _rebound(s) for s in rest):
            shown = f"enumerate({shown})"
        else:
            target = target.elements[1].value  # type: ignore[assignment]
    elif counted:
        shown = f"enumerate({shown})"
    lines = [*node.leading_lines, *loop.leading_lines]
    return loop.with_changes(
        target=target,
        iter=cst.parse_expression(shown),
        body=indented(rest, loop.body),
        leading_lines=lines,
    )


def _rebound(node: Statement) -> set[str]:
    return {n for s in statements([node]) if isinstance(s, cst.For) for n in target_names(s.target)}


def _updates(node: Statement, bar: str) -> bool:
    """``bar.update()``, possibly under an effect-free condition."""
    if isinstance(node, cst.If) and node.orelse is None and pure(node.test):
        inner = suite(node.body)
        return len(inner) == 1 and bar not in reads(node.test) and _updates(inner[0], bar)
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1 or not isinstance(node.body[0], cst.Expr):
        return False
    return code(node.body[0].value).replace(" ", "") == f"{bar}.update()"
