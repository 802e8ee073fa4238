"""What others say of sequence parallelism, read as facts out of their source text: what is split over the ranks.

diffusers' ``_cp_plan``, cache-dit's planners and the ``_sp_plan`` of hand-written ports are literals of one shape:
``{module: {input: Input(split_dim, expected_dims), ...}, module: Output(gather_dim)}``.  Nothing of them is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

IMAGE, TEXT, TABLES, TIMES = "tokens", "text", "tables", "times"

#: What a split value is, by its name or by the module that makes it; the first that fits.
_KINDS = (
    (TIMES, re.compile(r"time|temb|modul")),
    (TABLES, re.compile(r"rope|rotary|freqs|_ids|pos|cos|sin|grid")),
    (TEXT, re.compile(r"encoder_hidden|text|txt|context|caption|cap_|prompt")),
)


#: Modules whose results are tables alone.
_TABLES_ALONE = re.compile(r"(.*\.)?(\w*rope|pos_embed|\w*rotary\w*|freqs\w*)")


def of_output(module: str, dims: int | None) -> str:
    """What an output of a module is; modules that prepare the tokens have names of their own."""
    if _TABLES_ALONE.fullmatch(module) or dims not in (3, None):
        return kind(module, dims) if "time" in module or "modul" in module else TABLES
    return TEXT if re.search(r"text|txt|context", module) else IMAGE


def kind(name: str, dims: int | None) -> str:
    """What a value is: a stream of tokens ``[batch, tokens, width]``, or something that goes with its tokens."""
    for found, pattern in _KINDS:
        if pattern.search(name) and (found in (TIMES, TABLES) or dims in (3, None)):
            return found
    return IMAGE if dims in (3, None) else TABLES


def declared(source: str, name: str, attribute: str) -> set[str]:
    """What the class attribute of a class splits, by kind; empty if it has none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return {found for item in node.body for found in _plan(item, attribute)}
    return set()


def planners(folder: Path) -> dict[str, set[str]]:
    """cache-dit's planners: the prefix of the class names that each is registered for -> what it splits."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            kinds = {kind for item in ast.walk(node) for kind in _plan(item, "_cp_plan")}
            for name in _registered(node) if kinds else ():
                found[name] = kinds
    return found


def matching(registered: dict[str, set[str]], name: str) -> set[str]:
    """The planner of a class: the one whose registered prefix is the longest."""
    best = max((prefix for prefix in registered if name.startswith(prefix)), key=len, default="")
    return registered.get(best, set())


def _registered(node: ast.ClassDef) -> list[str]:
    return [
        str(argument.value)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and "ContextParallelismPlanner" in ast.unparse(decorator.func)
        for argument in decorator.args
        if isinstance(argument, ast.Constant)
    ]


def _plan(node: ast.AST, attribute: str) -> Iterator[str]:
    """Kinds of what ``attribute = {...}`` splits."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    assigned = isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(targets[0]) == attribute
    for module, inputs in _items(node.value if isinstance(node, ast.Assign | ast.AnnAssign) and assigned else None):
        for key, call in _items(inputs):
            for entry in call.elts if isinstance(call, ast.List | ast.Tuple) else [call]:
                if isinstance(entry, ast.Call) and ast.unparse(entry.func).endswith("Input"):
                    yield of_output(module, _dims(entry)) if key.isdigit() else kind(key, _dims(entry))


def _items(node: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
        if isinstance(key, ast.Constant):
            yield str(key.value), value


def _dims(call: ast.Call) -> int | None:
    given = next((k.value for k in call.keywords if k.arg == "expected_dims"), None)
    value = given.value if isinstance(given, ast.Constant) else None
    return value if isinstance(value, int) else None
