"""``kwargs = dict(a=x)`` and ``f(**kwargs)``: the arguments stand in the call."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.substitute import assigned_in, names_in
from omniport.source.syntax import constant, dotted
from omniport.source.walk import walk

_Given = list[tuple[str, cst.BaseExpression]]


def dict_arguments(module: cst.Module) -> cst.Module:
    """Dicts that are made once, of names alone, and used as ``**`` arguments alone."""
    changed = module.visit(_Dicts())
    assert isinstance(changed, cst.Module)
    return changed


class _Dicts(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        node = updated_node
        for index, statement in enumerate(node.body.body):
            found = _made(statement)
            if found is None:
                continue
            name, given = found
            before, rest = node.body.body[:index], node.body.body[index + 1 :]
            used = set().union(*(names_in(value) for _, value in given)) - {"self"}
            own = {dotted(value) for _, value in given if isinstance(value, cst.Attribute)}
            later = set().union(*(assigned_in(s) for s in rest))
            spread = cst.IndentedBlock([s for s in rest if isinstance(s, cst.BaseStatement)]).visit(
                _Spread(name, given)
            )
            stored = {dotted(p.target) for s in rest for p in walk(s) if isinstance(p, cst.AssignTarget)}
            taken = any(name in names_in(s) for s in before) or name in names_in(spread) or own & stored
            if used & later or name in later or taken:
                continue
            return node.with_changes(body=node.body.with_changes(body=[*before, *spread.body]))  # type: ignore[union-attr]
        return node


def _made(statement: cst.CSTNode) -> tuple[str, _Given] | None:
    """The name and the entries of a dict of names and literals."""
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1 or not isinstance(part.targets[0].target, cst.Name):
        return None
    value, given = part.value, []
    if isinstance(value, cst.Call) and dotted(value.func) == "dict":
        if not value.args or any(a.keyword is None or a.star for a in value.args):
            return None
        given = [(a.keyword.value, a.value) for a in value.args if a.keyword is not None]
    elif isinstance(value, cst.Dict) and value.elements:
        for element in value.elements:
            key = constant(element.key) if isinstance(element, cst.DictElement) else None
            if not isinstance(key, str) or not key.isidentifier():
                return None
            given.append((key, element.value))
    if not given or not all(dotted(v) or constant(v) is not ... for _, v in given):
        return None
    return part.targets[0].target.value, given


class _Spread(cst.CSTTransformer):
    def __init__(self, name: str, given: _Given) -> None:
        self._name, self._given = name, given

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args: list[cst.Arg] = []
        for arg in updated_node.args:
            if arg.star == "**" and dotted(arg.value) == self._name:
                equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
                args += [cst.Arg(v.deep_clone(), cst.Name(k), equal=equal) for k, v in self._given]
            else:
                args.append(arg)
        return updated_node.with_changes(args=args)
