"""``mask=None`` that no call gives and the body sets is a local, not a parameter."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.parameters import arguments_of, parameter_names
from omniport.rewrite.normal.substitute import names_in
from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import constant


def make_local(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``node`` with such parameters of its forward bound where they are first named; the same object if none is."""
    cls = node.name.value
    own = facts.classes[cls]
    function = own.function("forward")
    sites = facts.sites.get((cls, "forward"), [])
    if function is None or not sites:
        return node
    given = [arguments_of(call, parameter_names(function)) for _, call, _ in sites]
    for param in function.params.params:
        name = param.name.value
        default = constant(param.default)
        fixed = default is None or isinstance(default, bool | int | float | str)
        if not fixed or name not in own.stores.get("forward", {}) or not own.loads.get("forward", {}).get(name):
            continue
        if all(arguments is not None and name not in arguments for arguments in given):
            new = _local(function, param)
            members = [new if member is function else member for member in node.body.body]
            return node.with_changes(body=node.body.with_changes(body=members))
    return node


def _local(function: cst.FunctionDef, param: cst.Param) -> cst.FunctionDef:
    assert param.default is not None
    body = list(function.body.body)
    at = next(index for index, line in enumerate(body) if param.name.value in names_in(line))
    first = body[at]
    line = cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(param.name)], param.default)])
    if isinstance(first, cst.SimpleStatementLine | cst.If | cst.For | cst.With):
        line = line.with_changes(leading_lines=first.leading_lines)
        body[at] = first.with_changes(leading_lines=[])
    body.insert(at, line)
    kept = [p for p in function.params.params if p is not param]
    kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    params = function.params.with_changes(params=kept)
    return function.with_changes(params=params, body=function.body.with_changes(body=body))
