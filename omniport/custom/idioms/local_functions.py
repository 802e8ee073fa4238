"""A function that a method defines for its own calls moves to where it is called."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.normal.inline_function import Statement, block
from omniport.rewrite.normal.substitute import assigned_in, names_in
from omniport.source.syntax import code, dotted
from omniport.source.walk import walk


def local_functions(module: cst.Module) -> cst.Module:
    """Functions inside methods that end in one ``return`` and are only called, by statements of that method."""
    changed = module.visit(_Local())
    assert isinstance(changed, cst.Module)
    return changed


class _Local(cst.CSTTransformer):
    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        body: Sequence[Statement] = updated_node.body.body
        for inner in [s for s in body if isinstance(s, cst.FunctionDef)]:
            body = _without(body, inner) or body
        return updated_node.with_changes(body=updated_node.body.with_changes(body=body))


def _without(body: Sequence[Statement], inner: cst.FunctionDef) -> list[Statement] | None:
    """``body`` with ``inner`` in place of its calls; None where one of them is in another form."""
    name, params = inner.name.value, [p.name.value for p in inner.params.params]
    plain = not inner.decorators and not inner.params.star_kwarg and not inner.params.kwonly_params
    if not plain or isinstance(inner.params.star_arg, cst.Param) or inner.asynchronous:
        return None
    parts = list(walk(inner.body))
    returns = [p for p in parts if isinstance(p, cst.Return)]
    last = inner.body.body[-1]
    ends = isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], cst.Return) and len(last.body) == 1
    if len(returns) != 1 or not ends or returns[0].value is None:
        return None
    if any(isinstance(p, cst.FunctionDef | cst.Lambda | cst.Nonlocal | cst.Global | cst.Yield) for p in parts):
        return None
    out: list[Statement] = []
    for index, statement in enumerate(body):
        if statement is inner:
            continue
        if name not in names_in(statement):
            out.append(statement)
            continue
        rest = [s for s in body[index + 1 :] if s is not inner]
        moved = _moved(statement, name, params, inner, returns[0].value, rest)
        if moved is None:
            return None
        out += moved
    return out


def _moved(
    statement: Statement,
    name: str,
    params: list[str],
    inner: cst.FunctionDef,
    value: cst.BaseExpression,
    rest: list[Statement],
) -> list[Statement] | None:
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
    call = part.value if isinstance(part, cst.Assign | cst.Return) else None
    if not isinstance(call, cst.Call) or dotted(call.func) != name or any(a.star for a in call.args):
        return None
    given = {p: a.value for p, a in zip(params, call.args, strict=False) if a.keyword is None}
    given |= {a.keyword.value: a.value for a in call.args if a.keyword is not None}
    if set(given) != set(params) or any(name in names_in(v) for v in given.values()):
        return None
    before = [(p, v) for p, v in given.items() if dotted(v) != p]
    bound = {p for p, _ in before}
    if any(names_in(v) & bound for _, v in before):
        return None  # one argument would see another
    aimed = assigned_in(part) if part is not None else frozenset()
    changed = assigned_in(inner.body) | bound
    if changed - aimed and any(_read(s) & (changed - aimed) for s in rest):
        return None  # the method reads a name of its own that the function uses, too
    out: list[Statement] = [
        cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(cst.Name(p))], v.deep_clone())]) for p, v in before
    ]
    out += block(inner.body.body[:-1]).body
    if (
        isinstance(part, cst.Return)
        or isinstance(part, cst.Assign)
        and not (len(part.targets) == 1 and code(part.targets[0].target).strip("()") == code(value).strip("()"))
    ):
        out.append(statement.with_changes(body=[part.with_changes(value=value)]))
    return out


def _read(statement: Statement) -> frozenset[str]:
    """Names that occur in a statement otherwise than as what a plain assignment aims at."""
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
    if isinstance(part, cst.Assign) and all(isinstance(t.target, cst.Name) for t in part.targets):
        return names_in(part.value)
    return names_in(statement)
