"""Attention arguments that carry data: entries which the pipeline stores itself, not the caller."""

from __future__ import annotations

import ast

from omniport.analyse import pipeline_reading as reading
from omniport.rewrite.pipeline.carried import NAMES
from omniport.source.nodes import each_node


def carried_entries(call: ast.FunctionDef) -> dict[str, tuple[tuple[str, ...], ast.AST]]:
    """Parameter of the denoiser (``joint_attention_kwargs``) -> keys in order, and where the first is stored.

    Entries of an IP-adapter, which no port has, are none.
    """
    found: dict[str, tuple[tuple[str, ...], ast.AST]] = {}
    for node in each_node(call):
        if isinstance(node, ast.Assign) and (entry := _entry(node)) is not None:
            parameter, key = entry
            keys, first = found.get(parameter, ((), node))
            found[parameter] = (tuple(dict.fromkeys((*keys, key))), first)
    return found


def carries(node: ast.Assign) -> bool:
    """Whether the assignment stores such an entry."""
    return _entry(node) is not None


def _entry(node: ast.Assign) -> tuple[str, str] | None:
    target = node.targets[0]
    if len(node.targets) != 1 or not isinstance(target, ast.Subscript) or reading.stores_argument(node):
        return None
    name = NAMES.match(reading.dotted(target.value) or "")
    key = target.slice
    if name is None or not isinstance(key, ast.Constant) or not isinstance(key.value, str):
        return None
    return (name[1], key.value) if key.value.isidentifier() else None
