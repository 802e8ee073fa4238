"""A constructor that is handed its settings as one dict takes them as parameters.

``def __init__(self, config)`` with ``config.get("depth", 6)`` becomes ``def __init__(self, depth: int = 6)``.  A
pipeline of vLLM-Omni builds a denoiser with the entries of its ``config.json``, by name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import libcst as cst

from omniport.rewrite.normal.substitute import assigned_in
from omniport.source.syntax import code, constant, dotted
from omniport.source.walk import walk

_REQUIRED = object()


def config_dict(module: cst.Module, root: str) -> tuple[cst.Module, tuple[str, ...]]:
    """The module with the dicts of the constructor of ``root`` unfolded, and the names that those had."""
    gone: list[str] = []
    body: list[cst.BaseStatement | cst.SimpleStatementLine] = []
    for node in module.body:
        if isinstance(node, cst.ClassDef) and node.name.value == root:
            members = [_unfolded(m, gone) for m in node.body.body]
            node = node.with_changes(body=node.body.with_changes(body=members)) if gone else node
        body.append(node)
    return (module.with_changes(body=body) if gone else module), tuple(gone)


def _unfolded(member: cst.CSTNode, gone: list[str]) -> cst.CSTNode:
    if not isinstance(member, cst.FunctionDef) or member.name.value != "__init__":
        return member
    if member.decorators or member.params.star_kwarg or isinstance(member.params.star_arg, cst.Param):
        return member
    for param in member.params.params[1:]:
        name = param.name.value
        keys = _keys(member, name)
        if keys is None:
            continue
        others = [p for p in member.params.params[1:] if p is not param]
        taken = {p.name.value for p in (*others, *member.params.kwonly_params)} | set(assigned_in(member.body))
        if taken & set(keys):
            continue
        gone.append(name)
        made = [_parameter(key, default) for key, default in keys.items()]
        ordered = sorted([*made, *others], key=lambda p: p.default is not None)
        ordered = [p.with_changes(comma=cst.MaybeSentinel.DEFAULT) for p in (member.params.params[0], *ordered)]
        changed = member.with_changes(params=member.params.with_changes(params=ordered)).visit(_Reads(name))
        assert isinstance(changed, cst.FunctionDef)
        member = changed
    return member


def _keys(member: cst.FunctionDef, name: str) -> dict[str, object] | None:
    """Key -> default of every reading of the dict; None where it is used in another way, too."""
    keys: dict[str, object] = {}
    reads = 0
    for node in walk(member.body):
        target: cst.CSTNode | None = node if isinstance(node, cst.Del) else None
        if isinstance(node, cst.AssignTarget | cst.AugAssign):
            target = node.target
        if target is not None and any(uses(target, name)):
            return None  # an entry is written
        found = _read(node, name)
        if found is None:
            continue
        reads += 1
        if keys.setdefault(*found) != found[1] or type(keys[found[0]]) is not type(found[1]):
            return None
    return keys if reads and reads == sum(1 for _ in uses(member.body, name)) else None


def _read(node: cst.CSTNode, name: str) -> tuple[str, object] | None:
    """Key and default of ``name["key"]``, ``name.get("key")`` or ``name.get("key", default)``."""
    default: object = _REQUIRED
    if isinstance(node, cst.Subscript) and dotted(node.value) == name and len(node.slice) == 1:
        index = node.slice[0].slice
        key = constant(index.value) if isinstance(index, cst.Index) else ...
    elif isinstance(node, cst.Call) and dotted(node.func) == f"{name}.get" and len(node.args) in (1, 2):
        if any(a.star or a.keyword is not None for a in node.args):
            return None
        key, default = constant(node.args[0].value), None
        if len(node.args) == 2:
            try:
                default = ast.literal_eval(code(node.args[1].value))
            except ValueError:
                return None
    else:
        return None
    plain = default is _REQUIRED or default is None or isinstance(default, bool | int | float | str | tuple)
    return (key, default) if isinstance(key, str) and key.isidentifier() and plain else None


def uses(node: cst.CSTNode, name: str) -> Iterator[cst.Name]:
    """Every place where ``name`` stands for the variable, not for an attribute or a keyword."""
    others = {id(p.attr) for p in walk(node) if isinstance(p, cst.Attribute)}
    others |= {id(p.keyword) for p in walk(node) if isinstance(p, cst.Arg)}
    yield from (p for p in walk(node) if isinstance(p, cst.Name) and p.value == name and id(p) not in others)


def _parameter(key: str, default: object) -> cst.Param:
    if default is _REQUIRED:
        return cst.Param(cst.Name(key))
    kind = type(default).__name__ if isinstance(default, bool | int | float | str) else ""
    return cst.Param(
        cst.Name(key),
        cst.Annotation(cst.Name(kind)) if kind else None,
        default=cst.parse_expression(repr(default)),
    )


class _Reads(cst.CSTTransformer):
    def __init__(self, name: str) -> None:
        self._name = name

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        found = _read(original_node, self._name)
        return cst.Name(found[0]) if found is not None else updated_node

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        found = _read(original_node, self._name)
        return cst.Name(found[0]) if found is not None else updated_node
