"""Where the text of a normal form makes layers and calls them: what a rewrite by lines can change."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable

from omniport.analyse import library
from omniport.analyse.facts import Site
from omniport.analyse.shapes import Key
from omniport.analyse.syntax import text
from omniport.source.nodes import each_node


@functools.lru_cache(maxsize=8)
def read(module: ast.Module) -> tuple[frozenset[Key], frozenset[str]]:
    """The :func:`constructed` layers of a normal form, and the classes that call attention: each walk under other
    decisions reads the same."""
    return frozenset(constructed(module)), frozenset(attention_sites(module))


def attention_sites(module: ast.Module) -> dict[str, list[Site]]:
    """The attention calls of each class, in the order of the source."""
    found: dict[str, list[Site]] = {}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            sites = [
                (node.name, call.lineno, call.col_offset)
                for call in each_node(node)
                if isinstance(call, ast.Call) and _last(call.func) in library.ATTENTION
            ]
            if sites:
                found[node.name] = sorted(sites)
    return found


def constructed(module: ast.Module) -> set[Key]:
    """The layers that a constructor makes by assignment, in lists and conditions included."""
    found: set[Key] = set()
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    found |= {(node.name, path) for path in (*_paths(function.body), *_appended(function.body))}
    return found


def _paths(body: Iterable[ast.stmt]) -> Iterable[str]:
    for line in body:
        if isinstance(line, ast.If):
            yield from _paths(line.body)
            yield from _paths(line.orelse)
        elif isinstance(line, ast.Assign) and len(line.targets) == 1 and (name := _own(line.targets[0])):
            yield from _within(line.value, name)


def _appended(body: list[ast.stmt]) -> Iterable[str]:
    """What is appended line by line to a list that starts empty: the rewrite makes one literal of it."""
    counts: dict[str, int] = {}
    for line in body:
        if (
            isinstance(line, ast.Assign)
            and len(line.targets) == 1
            and text(line.value).endswith("ModuleList([])")
            or isinstance(line, ast.Assign)
            and text(line.value).endswith("ModuleList()")
        ):
            counts[_own(line.targets[0])] = 0
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Call) and line.value.args:
            owner = line.value.func
            if isinstance(owner, ast.Attribute) and owner.attr == "append" and (name := _own(owner.value)) in counts:
                yield from _within(line.value.args[0], f"{name}.{counts[name]}")
                counts[name] += 1


def _within(value: ast.expr, path: str) -> Iterable[str]:
    if isinstance(value, ast.IfExp):
        yield from _within(value.body, path)
        yield from _within(value.orelse, path)
    if not isinstance(value, ast.Call):
        return
    yield path
    kind = _last(value.func)
    held = value.args[0] if kind == "ModuleList" and value.args else None
    items = value.args if kind == "Sequential" else held.elts if isinstance(held, ast.List | ast.Tuple) else []
    for index, item in enumerate(items):
        yield from _within(item, f"{path}.{index}")
    if isinstance(held, ast.ListComp):
        yield from _within(held.elt, f"{path}.*")


def fusable(cls: ast.ClassDef, names: tuple[str, ...]) -> bool:
    """Whether the projections ``names`` are made in one block of the constructor and called in one block of a method,
    on the same expression, with nothing between that reads or sets what they take or give, and named nowhere else."""
    made = called = False
    for function in cls.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for block in _blocks(function):
            if function.name == "__init__":
                made |= set(names) <= {_own(line.targets[0]) for line in block if isinstance(line, ast.Assign)}
            else:
                called |= _called(block, names)
    calls = [n for n in each_node(cls) if isinstance(n, ast.Call) and _own(n.func) in names]
    named = [n for n in each_node(cls) if isinstance(n, ast.Attribute) and _own(n) in names]
    return made and called and len(calls) == len(names) and len(named) == 2 * len(names)


def _called(block: list[ast.stmt], names: tuple[str, ...]) -> bool:
    found: dict[str, tuple[int, str, str]] = {}
    for index, line in enumerate(block):
        for target, value in _pairs(line):
            if isinstance(value, ast.Call) and _own(value.func) in names and isinstance(target, ast.Name):
                if len(value.args) != 1 or value.keywords:
                    return False
                found[_own(value.func)] = (index, target.id, text(value.args[0]))
    if set(found) != set(names) or len({argument for _, _, argument in found.values()}) > 1:
        return False
    argument = next(iter(found.values()))[2]
    lines = sorted(index for index, _, _ in found.values())
    given = {target for _, target, _ in found.values()}
    read = {n.id for n in each_node(ast.parse(argument)) if isinstance(n, ast.Name)}
    between = [line for i, line in enumerate(block) if lines[0] < i < lines[-1] and i not in lines]
    touched = {n.id for line in between for n in each_node(line) if isinstance(n, ast.Name)}
    return len(given) == len(found) and not touched & (given | read) and not given & read or _last_wins(found, read)


def _last_wins(found: dict[str, tuple[int, str, str]], read: set[str]) -> bool:
    """``x = self.to_v(x)`` as the last of the three."""
    order = sorted(found.values())
    early = {target for _, target, _ in order[:-1]}
    return (
        len({target for _, target, _ in order}) == len(order) and not early & read and len({i for i, _, _ in order}) > 1
    )


def _pairs(line: ast.stmt) -> list[tuple[ast.expr, ast.expr]]:
    if not isinstance(line, ast.Assign) or len(line.targets) != 1:
        return []
    target, value = line.targets[0], line.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _blocks(node: ast.AST) -> Iterable[list[ast.stmt]]:
    for name in ("body", "orelse"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            yield block
            for line in block:
                yield from _blocks(line)


def _own(node: ast.expr) -> str:
    """``to_q`` for ``self.to_q``, "" for anything else."""
    own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if own and isinstance(node, ast.Attribute) else ""


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
