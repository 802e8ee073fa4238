"""What is known of a value before anything is interpreted: of a name, a chosen parameter, an argument."""

from __future__ import annotations

import ast

import libcst as cst

from omniport.analyse.modes import Mode
from omniport.analyse.values import PRESENT, UNKNOWN, Const, Value, one_of, present
from omniport.source.syntax import code, constant


def constant_assignment(node: ast.stmt) -> Value:
    """What a name of a module is bound to."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return Const(value.value) if isinstance(value, ast.Constant) else PRESENT


def chosen(mode: Mode) -> Value:
    """A constructor parameter of the root that is bound to what published configs have."""
    if mode.code is not None:
        return Const(mode.code)
    return one_of(frozenset(value for value in mode.values if not isinstance(value, bool)))


def nullness(value: Value) -> Value:
    """Of an argument that is no constant: whether it may be None."""
    return PRESENT if present(value) else UNKNOWN


def annotated(param: cst.Param) -> Value:
    """A constructor parameter of the root: its type says whether a config may hold None."""
    if param.default is not None and constant(param.default) is None:
        return UNKNOWN
    text = code(param.annotation.annotation) if param.annotation else ""
    return UNKNOWN if "None" in text or "Optional" in text else PRESENT
