"""What others say of tensor parallelism, read as facts out of their source text: which layer is split how.

Nothing of them is imported or kept: a fact is a path and one of ``column``, ``row``, ``gathered``, ``replicated``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

Facts = dict[str, str]  # dotted path of a layer, "*" for the index of a block -> how it is split

#: Styles of diffusers' plans and of torch's, by their first letters.
_STYLES = {"col": "column", "packedcol": "column", "row": "row", "packedrow": "row"}

#: Layers of vLLM in hand-written ports.
_LAYERS = {
    "ColumnParallelLinear": "column",
    "MergedColumnParallelLinear": "column",
    "QKVParallelLinear": "column",
    "RowParallelLinear": "row",
    "ReplicatedLinear": "replicated",
    "Linear": "replicated",
}


def declared_plan(source: str, name: str) -> Facts:
    """``_tp_plan`` of a class of diffusers; empty if it has none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for item in node.body:
                if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "_tp_plan":
                    return dict(_entries(item.value))
    return {}


def planners(folder: Path) -> dict[str, Facts]:
    """cache-dit's planners: the prefix of the class names that each is registered for -> its facts."""
    found: dict[str, Facts] = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [
                argument.value
                for decorator in (node.decorator_list if isinstance(node, ast.ClassDef) else ())
                if isinstance(decorator, ast.Call) and "TensorParallelismPlanner" in ast.unparse(decorator.func)
                for argument in decorator.args
                if isinstance(argument, ast.Constant)
            ]
            facts = dict(_of_class(node)) if names else {}
            found |= {str(name): facts for name in names if facts}
    return found


def _of_class(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Entries of a planner; a function without a loop of its own plans a block of every list that the planner loops
    over."""
    functions = [item for item in ast.walk(node) if isinstance(item, ast.FunctionDef)]
    lists = {name: None for function in functions for name in _loops(function)}
    for function in functions:
        own = set(_loops(function))
        for path, style in _planned(function, ""):
            yield from ((path, style),) if own or not lists else ((f"{name}.*.{path}", style) for name in lists)


def _loops(function: ast.AST) -> Iterator[str]:
    """Lists of the transformer that a function loops over, those within it left out."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.For) and (found := re.search(r"transformer\.(\w+)", ast.unparse(node.iter))):
            yield found[1]
        if not isinstance(node, ast.FunctionDef):
            yield from _loops(node)


def _planned(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
    """Entries of layer plans below ``node``; a loop over the blocks of a list puts its name in front."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            continue  # read on its own
        inner = prefix
        if isinstance(child, ast.For) and (lists := re.search(r"transformer\.(\w+)", ast.unparse(child.iter))):
            inner = f"{lists[1]}.*."
        if isinstance(child, ast.Dict):
            yield from ((f"{inner}{key}", style) for key, style in _entries(child))
        elif isinstance(child, ast.Assign) and isinstance(target := child.targets[0], ast.Subscript):
            style = _style(child.value)
            key = target.slice.value if isinstance(target.slice, ast.Constant) else None
            if isinstance(key, str) and style:
                yield f"{inner}{key}", style
        yield from _planned(child, inner)


def _entries(node: ast.expr) -> Iterator[tuple[str, str]]:
    for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
        style = _style(value)
        if isinstance(key, ast.Constant) and style:
            yield str(key.value), style


def _style(value: ast.expr) -> str:
    text = value.value if isinstance(value, ast.Constant) else ast.unparse(value)
    first = re.match(r"(packed)?(col|row)", str(text).lower())
    style = _STYLES[first[0]] if first else ""
    return "gathered" if style == "column" and "Replicate()" in str(text) else style


def layers(source: str) -> Facts:
    """Layers of a hand-written port: ``Class.attribute`` -> how it is split."""
    found: Facts = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for line in ast.walk(node):
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]).startswith("self."):
                attribute = ast.unparse(line.targets[0]).removeprefix("self.")
                for place, call in _calls(line.value):
                    found[f"{node.name}.{attribute}{place}"] = _kind(call)
    return found


def _calls(value: ast.expr) -> Iterator[tuple[str, ast.Call]]:
    """Constructions of layers in the value of an attribute, with their place in a list."""
    if isinstance(value, ast.IfExp):
        yield from _calls(value.body)
        yield from _calls(value.orelse)
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func).rpartition(".")[2]
        if name in _LAYERS:
            yield "", value
        items = value.args[0].elts if value.args and isinstance(value.args[0], ast.List | ast.Tuple) else value.args
        for at, item in enumerate(items if name in ("ModuleList", "Sequential") else ()):
            yield from ((f".{at}{place}", call) for place, call in _calls(item))


def _kind(call: ast.Call) -> str:
    kind = _LAYERS[ast.unparse(call.func).rpartition(".")[2]]
    gathered = any(k.arg == "gather_output" and ast.unparse(k.value) == "True" for k in call.keywords)
    return "gathered" if gathered else kind


def matching(registered: Mapping[str, Facts], name: str) -> Facts:
    """The planner of a class: the one whose registered prefix is the longest."""
    best = max((prefix for prefix in registered if name.startswith(prefix)), key=len, default="")
    return registered.get(best, {})
