"""Where each module call of a constructor hangs: the checkpoint name of what it makes."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.syntax import assignment, dotted, method, self_attribute

#: Name that a block list counts with where the reference counts with ``_``.
INDEX = "i"


def module_paths(node: cst.ClassDef) -> dict[cst.Call, str]:
    """Module calls of ``__init__`` and their attribute paths: ``to_out.0``, ``blocks.{i}`` within a comprehension."""
    found: dict[cst.Call, str] = {}
    init = method(node, "__init__")
    if init is not None:
        _collect(init.body.body, found)
    return found


def _collect(body: object, found: dict[cst.Call, str]) -> None:
    assert isinstance(body, tuple | list)
    for statement in body:
        target = assignment(statement)
        if target is not None and (name := self_attribute(target[0])):
            _value(target[1], name, found)
        branch: cst.CSTNode | None = statement if isinstance(statement, cst.If) else None
        while branch is not None:
            assert isinstance(branch, cst.If | cst.Else)
            _collect(branch.body.body, found)
            branch = branch.orelse if isinstance(branch, cst.If) else None


def _value(value: cst.BaseExpression, path: str, found: dict[cst.Call, str]) -> None:
    if isinstance(value, cst.IfExp):
        _value(value.body, path, found)
        _value(value.orelse, path, found)
    if not isinstance(value, cst.Call):
        return
    found[value] = path
    kind = dotted(value.func).rpartition(".")[2]
    if kind == "Sequential":
        for index, arg in enumerate(value.args):
            _value(arg.value, f"{path}.{index}", found)
    elif kind == "ModuleList" and value.args:
        held = value.args[0].value
        if isinstance(held, cst.List | cst.Tuple):
            for index, element in enumerate(held.elements):
                _value(element.value, f"{path}.{index}", found)
        elif isinstance(held, cst.ListComp):
            target = held.for_in.target
            name = target.value if isinstance(target, cst.Name) and target.value != "_" else INDEX
            place = f".{{{name}}}" if isinstance(target, cst.Name) else ""
            _value(held.elt, f"{path}{place}", found)
