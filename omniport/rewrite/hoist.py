"""A function that a method defines anew at every call goes to the module, if it needs nothing of the method."""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.rewrite.syntax import code, variables
from omniport.source.transform import transform
from omniport.source.walk import walk


def hoist_functions(module: cst.Module) -> cst.Module:
    """``module`` with such functions in front of the first class that calls them; the same object if there are none.

    A function stays where it reads a local of its method or is bound twice, and where the module has its name already
    for anything but the same function.
    """
    taken = {name: "" for item in module.body if not isinstance(item, cst.ClassDef) for name in _bound(item)}
    taken |= {item.name.value: "" for item in module.body if isinstance(item, cst.ClassDef)}
    body: list[cst.BaseStatement | cst.SimpleStatementLine] = []
    for item in module.body:
        found: list[cst.FunctionDef] = []
        if isinstance(item, cst.ClassDef):
            members = []
            for member in item.body.body:
                free = _free(member) if isinstance(member, cst.FunctionDef) else []
                gone = [
                    nested for nested in free if taken.setdefault(nested.name.value, _text(nested)) == _text(nested)
                ]
                found += [n for n in gone if n.name.value not in {f.name.value for f in found} | _above(body)]
                members.append(transform(member, _Remove(gone)) if gone else member)
            item = item.with_changes(body=item.body.with_changes(body=members)) if found or members else item
        body += [_at_top(function) for function in found]
        body.append(item)
    return module.with_changes(body=body) if len(body) > len(module.body) else module


def _above(body: Collection[cst.CSTNode]) -> set[str]:
    return {item.name.value for item in body if isinstance(item, cst.FunctionDef)}


def _text(function: cst.FunctionDef) -> str:
    return code(function.with_changes(leading_lines=[], lines_after_decorators=[]))


def _bound(item: cst.CSTNode) -> set[str]:
    """Names that a statement at the top of a module binds."""
    names: set[str] = set()
    for part in walk(item):
        if isinstance(part, cst.ImportAlias):
            bound = part.asname.name if part.asname is not None else part.name
            names |= {bound.value} if isinstance(bound, cst.Name) else set()
        elif isinstance(part, cst.AssignTarget) and isinstance(part.target, cst.Name):
            names.add(part.target.value)
        elif isinstance(part, cst.FunctionDef):
            names.add(part.name.value)
    return names


def _free(method: cst.FunctionDef) -> list[cst.FunctionDef]:
    """Functions at the top of a method that read none of its locals and are bound once."""
    nested = [item for item in method.body.body if isinstance(item, cst.FunctionDef)]
    if not nested:
        return []
    stores = [name for item in walk(method.body) for name in _targets(item)]
    local = {*stores, *_parameters(method), *(function.name.value for function in nested)}
    found = []
    for function in nested:
        name = function.name.value
        own = {*_parameters(function), *(n for item in walk(function.body) for n in _targets(item))}
        read = set(variables(function.body)) - own
        once = sum(other.name.value == name for other in nested) == 1 and stores.count(name) == 0
        if once and not read & local and not function.decorators:
            found.append(function)
    return found


def _parameters(function: cst.FunctionDef) -> set[str]:
    return {item.name.value for item in walk(function.params) if isinstance(item, cst.Param)}


def _targets(item: cst.CSTNode) -> list[str]:
    if isinstance(item, cst.AssignTarget | cst.AnnAssign | cst.AugAssign | cst.For | cst.CompFor | cst.NamedExpr):
        return [part.value for part in walk(item.target) if isinstance(part, cst.Name)]
    return []


def _at_top(function: cst.FunctionDef) -> cst.FunctionDef:
    blank = cst.EmptyLine(indent=False)
    comments = [line for line in function.leading_lines if line.comment is not None]
    return function.with_changes(leading_lines=[blank, blank, *comments])


class _Remove(cst.CSTTransformer):
    def __init__(self, gone: Collection[cst.FunctionDef]) -> None:
        self.gone = gone

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.RemovalSentinel:
        return cst.RemoveFromParent() if original_node in self.gone else updated_node
