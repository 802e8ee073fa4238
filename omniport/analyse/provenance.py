"""Which parameters of a function flow into an expression, sizes and types aside."""

from __future__ import annotations

import ast

from omniport.analyse import library
from omniport.analyse.syntax import text
from omniport.source.nodes import each_node

#: What is read of a tensor without its entries.
_WITHOUT_ENTRIES = frozenset({"shape", "dtype", "device", "ndim", "size", "dim"})


def flows_into(function: ast.FunctionDef, node: ast.expr, before: int) -> frozenset[str]:
    """The parameters of ``function`` whose entries ``node``, an expression in it, is computed from.

    Only what stands above the line ``before`` counts; a name that is bound on several ways comes from all of them, but
    not from what stands in for an argument that is None.
    """
    parameters = {a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}
    bound: dict[str, list[ast.expr]] = {}
    stand_ins = {id(line) for part in each_node(function) if isinstance(part, ast.If) for line in _stand_ins(part)}
    for line in each_node(function):
        if isinstance(line, ast.Assign) and line.lineno < before and id(line) not in stand_ins:
            for target in line.targets:
                for owner, value in _pairs(target, line.value):
                    bound.setdefault(owner, []).append(value)
    found: set[str] = set()
    seen: set[str] = set()
    todo = _read(node)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in parameters:
            found.add(name)
        for value in bound.get(name, ()):
            todo += _read(value)
    return frozenset(found - {"self"})


def _stand_ins(node: ast.If) -> list[ast.stmt]:
    """``x = y`` under ``if x is None``."""
    name = text(node.test).removesuffix(" is None")
    return [line for line in node.body if isinstance(line, ast.Assign) and text(line.targets[0]) == name]


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return [pair for t, v in zip(target.elts, value.elts, strict=True) for pair in _pairs(t, v)]
    owners = [part.id for part in each_node(target) if isinstance(part, ast.Name) and part.id != "self"]
    if isinstance(target, ast.Subscript):
        owners = owners[:1]  # a part of a tensor; the others are indices
    return [(owner, value) for owner in owners]


def _read(node: ast.expr) -> list[str]:
    """Names whose entries an expression reads."""
    if isinstance(node, ast.Attribute) and node.attr in _WITHOUT_ENTRIES:
        return []
    if isinstance(node, ast.Name):
        return [node.id]
    return [name for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for name in _read(child)] + [
        name for child in ast.iter_child_nodes(node) if isinstance(child, ast.keyword) for name in _read(child.value)
    ]


def same_tokens(cls: ast.ClassDef, line: int, column: int) -> bool:
    """Whether the keys of the attention call at a place come from all that its queries come from, or the other way
    round: then it attends within one sequence, be it a joint one."""
    for function in cls.body:
        for node in each_node(function) if isinstance(function, ast.FunctionDef) else ():
            if not isinstance(node, ast.Call) or (node.lineno, node.col_offset) != (line, column):
                continue
            if text(node.func).rpartition(".")[2] in library.ATTENTION:  # not a method of its result
                assert isinstance(function, ast.FunctionDef)
                given = dict(zip(library.ATTENTION_PARAMETERS, node.args, strict=False))
                given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                query, key = (flows_into(function, given[name], line) for name in ("query", "key"))
                return bool(query and key) and (query <= key or key <= query)
    return False
