"""Statements that change what others hold: a call that will run behind them sees the change."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import libcst as cst

from omniport.rewrite.pipeline.blocks import Statement, pure, reads, statements
from omniport.source.syntax import dotted


def changes_held(block: Iterable[Statement], names: Collection[str], attributes: Collection[str]) -> bool:
    """Whether ``block`` changes an object in place that one of ``names`` or ``attributes`` (``self.x``) holds.

    A statement does that which is nothing but a call with or of such an object (``cache.set_mode("skip")``), and one
    that stores into it (``mask[:, 0] = 1``, ``latents += x``).
    """
    return any(
        _changes(small, names, attributes)
        for line in statements(block)
        if isinstance(line, cst.SimpleStatementLine)
        for small in line.body
    )


def _changes(small: cst.BaseSmallStatement, names: Collection[str], attributes: Collection[str]) -> bool:
    if isinstance(small, cst.Expr):
        called = dotted(small.value.func) if isinstance(small.value, cst.Call) else None
        held = any(f"{called}.".startswith(f"{attribute}.") for attribute in attributes)
        return not pure(small.value) and (held or bool(set(reads(small.value)) & set(names)))
    if isinstance(small, cst.AugAssign):
        return _root(small.target) in names
    targets = [t.target for t in small.targets] if isinstance(small, cst.Assign) else []
    return any(isinstance(t, cst.Subscript | cst.Attribute) and _root(t) in names for t in targets)


def _root(node: cst.CSTNode) -> str:
    """The name that a target begins with."""
    while isinstance(node, cst.Subscript | cst.Attribute):
        node = node.value
    return node.value if isinstance(node, cst.Name) else ""
