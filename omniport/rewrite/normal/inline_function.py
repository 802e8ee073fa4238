"""A module-level helper that is handed the attention module (``_get_projections(attn, x)``) moves into the method.

So does one that attends itself (``_causal_attention(query, key, value)``): in a port that is a layer of the module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.normal.substitute import Substitute, assigned_in, names_in
from omniport.source.slice import marker
from omniport.source.syntax import code, constant, dotted
from omniport.source.transform import transform, with_body
from omniport.source.walk import children, of_kind

Lookup = Callable[[str], "cst.FunctionDef | None"]
Statement = cst.BaseStatement | cst.BaseSmallStatement

#: The functions whose names a statement that is inlined must not touch: the one it stands in, and those on the way.
_Around = tuple[cst.FunctionDef, ...]


def block(body: Sequence[Statement]) -> cst.IndentedBlock:
    """An indented block; the statements of one are never bare small statements."""
    return cst.IndentedBlock([s for s in body if isinstance(s, cst.BaseStatement)])


def inline_functions(node: cst.ClassDef, lookup: Lookup) -> cst.ClassDef:
    """Inline every ``x = helper(self, ...)`` and ``return helper(self, ...)``, and all that attend, until none is left.

    Args:
        lookup: gives the definition of a module-level function by name, None for any other name.

    Raises:
        UnsupportedError: such a call in another position, or a helper that cannot be inlined.
    """
    members: list[Statement] = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef):
            member = with_body(member, _body(member.body.body, (member,), lookup, 0))
        members.append(member)
    return with_body(node, members)


def _body(statements: Sequence[Statement], taken: _Around, lookup: Lookup, depth: int) -> list[Statement]:
    out: list[Statement] = []
    for statement in statements:
        found = _call(statement, lookup)
        if found is not None and isinstance(statement, cst.SimpleStatementLine):
            call, definition = found
            if depth > 8:
                raise UnsupportedError(f"helper {code(call.func)} calls itself", *(marker(statement) or ("", 0)))
            inlined = _expand(statement, call, definition, taken)
            out.extend(_body(inlined, (*taken, definition), lookup, depth + 1))
        elif isinstance(statement, cst.If):
            out.append(_if(statement, taken, lookup, depth))
        elif isinstance(statement, cst.For | cst.With | cst.While):
            out.append(with_body(statement, _body(statement.body.body, taken, lookup, depth)))
        else:
            out.append(statement)
    return out


def _if(node: cst.If, taken: _Around, lookup: Lookup, depth: int) -> cst.If:
    node = with_body(node, _body(node.body.body, taken, lookup, depth))
    orelse = node.orelse
    if isinstance(orelse, cst.If):
        orelse = _if(orelse, taken, lookup, depth)
    elif isinstance(orelse, cst.Else):
        orelse = with_body(orelse, _body(orelse.body.body, taken, lookup, depth))
    return node if orelse is node.orelse else node.with_changes(orelse=orelse)


def _call(statement: Statement, lookup: Lookup) -> tuple[cst.Call, cst.FunctionDef] | None:
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return None
    part = statement.body[0]
    value = part.value if isinstance(part, cst.Assign | cst.Return) else None
    if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Name):
        return None
    handed = any(dotted(arg.value) == "self" for arg in value.args)
    definition = lookup(value.func.value) if value.func.value not in ATTENTION else None
    return (value, definition) if definition is not None and (handed or _attends(definition)) else None


@functools.lru_cache(maxsize=500)
def _attends(definition: cst.FunctionDef) -> bool:
    """Whether a function computes attention."""
    return any((dotted(call.func) or "").rpartition(".")[2] in ATTENTION for call in of_kind(definition, cst.Call))


#: The functions that do.
ATTENTION = frozenset({"dispatch_attention_fn", "scaled_dot_product_attention"})


def _expand(
    statement: cst.SimpleStatementLine, call: cst.Call, definition: cst.FunctionDef, taken: _Around
) -> list[Statement]:
    where = marker(statement) or ("", 0)
    params = definition.params
    if params.star_kwarg or isinstance(params.star_arg, cst.Param) or any(arg.star for arg in call.args):
        raise UnsupportedError(f"helper {definition.name.value} takes * arguments", *where)
    given = {p.name.value: arg.value for p, arg in zip(params.params, call.args, strict=False) if not arg.keyword}
    given.update({arg.keyword.value: arg.value for arg in call.args if arg.keyword})
    part = statement.body[0]
    targets = part.targets if isinstance(part, cst.Assign) else None
    aimed = assigned_in(part)
    changed = assigned_in(definition.body)
    names: dict[str, cst.BaseExpression] = {}
    before: list[Statement] = []
    for param in params.params:
        value = given.get(param.name.value, param.default)
        if value is None:
            raise UnsupportedError(f"helper {definition.name.value} is given no {param.name.value}", *where)
        if param.name.value in changed or not (isinstance(value, cst.Name | cst.Attribute) or plain(value)):
            assign = cst.Assign([cst.AssignTarget(cst.Name(param.name.value))], value.deep_clone())
            before.append(cst.SimpleStatementLine([assign]))
        elif dotted(value) != param.name.value:
            names[param.name.value] = value
    for local in changed - aimed - {p.name.value for p in params.params}:
        if any(local in names_in(function) for function in taken):
            names[local] = cst.Name(f"{local}_")
    body = transform(definition.body, Substitute(names))
    assert isinstance(body, cst.IndentedBlock)
    documented = definition.get_docstring() is not None
    converted, _ = _returns(list(body.body[1:] if documented else body.body), targets, where)
    return [*before, *converted]


def plain(value: cst.BaseExpression) -> bool:
    """Whether an argument is a literal, which may stand wherever the parameter is read."""
    return isinstance(constant(value), int | float | str | None)


def _returns(
    body: list[Statement], targets: Sequence[cst.AssignTarget] | None, where: tuple[str, int]
) -> tuple[list[Statement], bool]:
    """Turn returns into assignments to ``targets`` (None keeps them); whether every path returned."""
    out: list[Statement] = []
    for index, statement in enumerate(body):
        if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Return):
            value = statement.body[0].value or cst.Name("None")
            if targets is None:
                out.append(statement)
            elif not (len(targets) == 1 and code(targets[0].target).strip("()") == code(value).strip("()")):
                out.append(statement.with_changes(body=[cst.Assign(targets, value)]))
            return out, True
        if isinstance(statement, cst.If) and _has_return(statement):
            yes, ends = _returns(list(statement.body.body), targets, where)
            if not ends:
                raise UnsupportedError("helper returns on some paths of a branch only", *where)
            rest = body[index + 1 :]
            orelse: list[Statement] = []
            if isinstance(statement.orelse, cst.Else):
                orelse = list(statement.orelse.body.body)
            elif isinstance(statement.orelse, cst.If):
                orelse = [statement.orelse]
            no, ends_too = _returns([*orelse, *rest], targets, where)
            branch = cst.Else(block(no)) if no else None
            if not yes:
                yes = [cst.SimpleStatementLine([cst.Pass()])]
            out.append(statement.with_changes(body=block(yes), orelse=branch))
            return out, ends_too
        if isinstance(statement, cst.For | cst.While | cst.With) and _has_return(statement):
            raise UnsupportedError("helper returns from inside a loop", *where)
        out.append(statement)
    return out, False


def _has_return(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Return) or (
        not isinstance(node, cst.FunctionDef) and any(_has_return(child) for child in children(node))
    )
