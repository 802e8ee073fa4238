"""The function that enables cache-dit, where a tree registers functions instead of reading a declaration."""

from __future__ import annotations

import ast

from omniport.emit.edits import literals
from omniport.emit.edits.base import Context, Edit
from omniport.emit.render import render

_FILE = "vllm_omni/diffusion/cache/cache_dit_backend.py"
_TABLE = "CUSTOM_DIT_ENABLERS"


def function_name(context: Context) -> str:
    return f"enable_cache_for_{context.plan.name}"


def source(context: Context) -> str:
    """The text of the function, laid out as the tree's own settings want it."""
    from omniport.emit.format import format_files, ruff_settings

    text = render(
        "tree/cache_enabler.py.j2",
        name=context.plan.name,
        pipeline_class=context.plan.pipeline.class_name,
        blocks=[(b.attribute, b.pattern) for b in context.plan.transformer.blocks],
        separate_cfg=context.plan.pipeline.separate_cfg,
    )
    return format_files({"enabler.py": text}, ruff_settings(context.root), context.root)[0]["enabler.py"]


def edits(context: Context) -> list[Edit]:
    if context.features.cachedit_api != "enabler" or not context.supports("cache-dit"):
        return []
    key, function = context.plan.pipeline.class_name, function_name(context)

    def add(text: str) -> str:
        tree = literals.parse(text, _FILE)
        literal = literals.updated(tree, _TABLE)
        if literal is None or _function(tree, function) is not None:
            return text
        text = literals.remove(text, literal, key)
        literal = literals.updated(literals.parse(text, _FILE), _TABLE)
        assert literal is not None
        text = literals.insert(text, literal, f'"{key}": {function}', _FILE)
        return _before_update(text, source(context))

    def drop(text: str) -> str:
        tree = literals.parse(text, _FILE)
        literal = literals.updated(tree, _TABLE)
        node = _function(tree, function)
        if literal is None or node is None:
            return text
        text = literals.remove(text, literal, key)
        lines = text.splitlines(keepends=True)
        end = node.end_lineno or node.lineno
        while end < len(lines) and not lines[end].strip():
            end += 1
        return "".join([*lines[: node.lineno - 1], *lines[end:]])

    return [Edit(_FILE, add, drop)]


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    return next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def _before_update(text: str, function: str) -> str:
    """``text`` with ``function`` before the statement that fills the table, and the comment above that."""
    tree = literals.parse(text, _FILE)
    statement = next(n for n in tree.body if isinstance(n, ast.Expr) and literals.updated(ast.Module([n], []), _TABLE))
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    at = statement.lineno - 1
    while at and lines[at - 1].startswith("#"):
        at -= 1
    made = function.rstrip("\n").replace("\n", newline) + newline * 3
    return "".join([*lines[:at], made, *lines[at:]])
