"""A class that derives from another class of the reference becomes one class without that base."""

from __future__ import annotations

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.source.slice import marker
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind

Statement = cst.BaseStatement | cst.BaseSmallStatement


def flatten_base(node: cst.ClassDef, base: cst.ClassDef) -> cst.ClassDef:
    """``node`` with what it inherits from ``base`` written out.

    Understood are constructors that hand all their arguments on, or skip the base with ``super(Base, self)``, and
    methods that only hand over to the base's.

    Raises:
        UnsupportedError: another use of ``super()``.
    """
    own = {m.name.value: m for m in node.body.body if isinstance(m, cst.FunctionDef)}
    inherited = {m.name.value: m for m in base.body.body if isinstance(m, cst.FunctionDef)}
    methods: dict[str, cst.FunctionDef] = dict(inherited)
    for name, function in own.items():
        if name == "__init__":
            methods[name] = _constructor(node, function, base.name.value, inherited.get(name))
        elif _hands_over(function, name) and name in inherited:
            continue
        elif any(dotted(call.func) == "super" and not call.args for call in of_kind(function, cst.Call)):
            raise UnsupportedError(f"{node.name.value}.{name} calls its base class", *(marker(function) or ("", 0)))
        else:
            methods[name] = function
    plain = [m for m in (*base.body.body, *node.body.body) if not isinstance(m, cst.FunctionDef) and not _doc(m)]
    body = base.body.with_changes(body=[*plain, *methods.values()])
    return node.with_changes(bases=base.bases, body=body)


def _constructor(
    node: cst.ClassDef, function: cst.FunctionDef, base: str, inherited: cst.FunctionDef | None
) -> cst.FunctionDef:
    body: list[Statement] = []
    params = function.params
    for statement in function.body.body:
        call = _super_init(statement)
        if call is None:
            body.append(statement)
            continue
        owner = call.func.value if isinstance(call.func, cst.Attribute) else None
        assert isinstance(owner, cst.Call)
        skips = len(owner.args) == 2 and dotted(owner.args[0].value) == base
        stars = [arg.star for arg in call.args]
        if skips and not call.args:
            plain = call.with_changes(func=cst.Attribute(cst.Call(cst.Name("super")), cst.Name("__init__")))
            assert isinstance(statement, cst.SimpleStatementLine)
            body.append(statement.with_changes(body=[cst.Expr(plain)]))
        elif not owner.args and stars == ["*", "**"] and not params.params[1:] and inherited is not None:
            params = inherited.params
            body.extend(inherited.body.body)
        else:
            where = marker(statement) or ("", 0)
            raise UnsupportedError(f"{node.name.value} calls the constructor of {base} with its own arguments", *where)
    return function.with_changes(params=params, body=function.body.with_changes(body=body))


def _super_init(statement: Statement) -> cst.Call | None:
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    call = part.value if isinstance(part, cst.Expr) else None
    if not isinstance(call, cst.Call) or not isinstance(call.func, cst.Attribute):
        return None
    owner = call.func.value
    made = isinstance(owner, cst.Call) and dotted(owner.func) == "super"
    return call if made and call.func.attr.value == "__init__" else None


def _hands_over(function: cst.FunctionDef, name: str) -> bool:
    """Whether the method is ``return super().name(...)`` and no more."""
    body = [s for s in function.body.body if not _doc(s)]
    part = body[0].body[0] if len(body) == 1 and isinstance(body[0], cst.SimpleStatementLine) else None
    value = part.value if isinstance(part, cst.Return) else None
    return isinstance(value, cst.Call) and code(value.func) == f"super().{name}"


def _doc(statement: Statement) -> bool:
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    return isinstance(part, cst.Expr) and isinstance(part.value, cst.SimpleString | cst.ConcatenatedString)
