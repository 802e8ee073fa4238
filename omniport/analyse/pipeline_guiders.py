"""Guider objects of a pipeline: whether they leave the denoiser alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.analyse import pipeline_reading as reading
from omniport.analyse.pipeline_components import component_roles
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision
from omniport.rewrite.pipeline.branches import CLEANUP, PREPARE
from omniport.source.nodes import each_node
from omniport.source.tree import SourceModule, SourceTree

ROOT = "BaseGuidance"  # of which both methods count calls and do nothing else
CONDITIONS = "num_conditions"
SCALE = "guidance_scale"


def guiders(
    source: SourceTree, module: SourceModule, call: ast.FunctionDef, decisions: tuple[Decision, ...]
) -> Iterator[tuple[str, int, str, ast.AST]]:
    """Subject, reason and place of a decision for every guider class that the call may run with.

    With the largest number of calls that it makes of one, 0 if its class does not say.

    Raises:
        UnsupportedError: a class changes the denoiser for a branch: hooks on its layers, or another model.
    """
    classes: dict[str, ast.AST] = {}
    for dotted, _ in component_roles(decisions).values():
        if f"{source.package}.guiders." in dotted:
            classes[dotted] = call
    for node in each_node(call):
        found = source.resolve(module.name, node.id) if isinstance(node, ast.Name) else None
        if found is not None and f"{source.package}.guiders." in f"{found[0].name}.":
            classes[f"{found[0].name}.{found[1]}"] = node
    for dotted, node in classes.items():
        where, _, name = dotted.rpartition(".")
        if changed := _changes(source, where, name):
            what = f"guider {name}: {changed} changes the denoiser for one branch, whose layers are the port's own"
            raise UnsupportedError(what, module.file, getattr(node, "lineno", 0))
        calls = _conditions(source, where, name)
        yield f"guider {name}", calls, f"its class leaves the denoiser alone: no {PREPARE} of its own", node


def scaled(source: SourceTree, decisions: tuple[Decision, ...]) -> Iterator[tuple[str, str]]:
    """Name and class of every guider component whose constructor takes a guidance scale, which its config holds."""
    for component, (dotted, _) in component_roles(decisions).items():
        where, _, name = dotted.rpartition(".")
        module = source.module(where) if f"{source.package}.guiders." in dotted else None
        node = module.definitions.get(name) if module is not None else None
        init = [n for n in node.body if _is_init(n)] if isinstance(node, ast.ClassDef) else []
        if any(isinstance(m, ast.FunctionDef) and SCALE in {a.arg for a in m.args.args} for m in init):
            yield component, name


def _is_init(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _changes(source: SourceTree, where: str, name: str) -> str:
    """The method by which a guider class, or a base of it, changes the denoiser; empty if it does not."""
    module = source.module(where)
    node = module.definitions.get(name) if module is not None else None
    if module is None or not isinstance(node, ast.ClassDef) or name == ROOT:
        return ""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name in (PREPARE, CLEANUP):
            return method.name
    for base in node.bases:
        found = source.resolve(where, reading.dotted(base) or "")
        if found is not None and (inherited := _changes(source, found[0].name, found[1])):
            return inherited
    return ""


def _conditions(source: SourceTree, where: str, name: str) -> int:
    """The largest ``num_conditions`` of a guider class: all numbers that its property adds up; 0 if it is no sum."""
    module = source.module(where)
    node = module.definitions.get(name) if module is not None else None
    if not isinstance(node, ast.ClassDef):
        return 0
    method = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == CONDITIONS), None)
    if method is None:
        found = [source.resolve(where, reading.dotted(base) or "") for base in node.bases]
        return max((_conditions(source, place[0].name, place[1]) for place in found if place is not None), default=0)
    total = 0
    for inner in each_node(method):
        if isinstance(inner, ast.Assign | ast.AugAssign):
            added = isinstance(inner, ast.Assign) or isinstance(inner.op, ast.Add)
            if not added or not isinstance(inner.value, ast.Constant) or not isinstance(inner.value.value, int):
                return 0
            total += inner.value.value
        elif isinstance(inner, ast.Return) and not isinstance(inner.value, ast.Name):
            return 0
    return total
