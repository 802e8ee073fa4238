"""An attention module that is given a processor with settings of its own takes over the settings and the forward.

``Attention(processor=AttnProcessor(backend=b), dim=d)`` becomes ``Attention(backend=b, dim=d)``: the constructor of the
processor moves into the module's, its ``__call__`` to where the module hands over.  diffusers' processors have no
settings; Path A knows those.
"""

from __future__ import annotations

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.normal.inline_function import Statement
from omniport.rewrite.normal.substitute import Substitute, assigned_in, names_in
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import walk

_PARAMETER = "processor"


@dataclass(frozen=True)
class _Pair:
    """A module class, the one processor class that it is ever given, and every construction of it."""

    owner: cst.ClassDef
    processor: cst.ClassDef


def own_processors(module: cst.Module) -> cst.Module:
    """The module with such processors taken over; one of several kinds, or without settings, stays as it is."""
    classes = {n.name.value: n for n in module.body if isinstance(n, cst.ClassDef)}
    for name in classes:
        pair = _pair(module, classes, name)
        joined = _joined(pair) if pair is not None else None
        if pair is None or joined is None:
            continue
        body = [joined if n is pair.owner else n for n in module.body]
        changed = module.with_changes(body=body).visit(_Constructions(pair))
        assert isinstance(changed, cst.Module)
        return own_processors(changed)
    return module


def _pair(module: cst.Module, classes: dict[str, cst.ClassDef], name: str) -> _Pair | None:
    init, forward = (_method(classes[name], m) for m in ("__init__", "forward"))
    if init is None or forward is None or _PARAMETER not in _parameters(init):
        return None
    kinds = set()
    for call in (c for c in walk(module) if isinstance(c, cst.Call) and dotted(c.func) == name):
        given = next((a.value for a in call.args if a.keyword is not None and a.keyword.value == _PARAMETER), None)
        kind = dotted(given.func) if isinstance(given, cst.Call) else None
        plain = all(a.keyword is not None and not a.star for a in call.args)
        if kind not in classes or not isinstance(given, cst.Call) or not plain:
            return None
        if any(a.keyword is None or a.star for a in given.args):
            return None
        kinds.add(kind)
    if len(kinds) != 1:
        return None
    processor = classes[str(kinds.pop())]
    made = _method(processor, "__init__")
    if made is None or _method(processor, "__call__") is None or not _parameters(made) or processor.bases:
        return None
    return _Pair(classes[name], processor)


def _joined(pair: _Pair) -> cst.ClassDef | None:
    """The module class with the processor in it; None where their names meet or the hand-over is in another form."""
    init, made = _method(pair.owner, "__init__"), _method(pair.processor, "__init__")
    forward, call = _method(pair.owner, "forward"), _method(pair.processor, "__call__")
    assert init is not None and made is not None and forward is not None and call is not None
    methods = {m.name.value for m in pair.processor.body.body if isinstance(m, cst.FunctionDef)}
    own, theirs = _stored(init), _stored(made)
    params = set(_parameters(init)) | assigned_in(init.body)
    if methods != {"__init__", "__call__"} or own & theirs or params & {*_parameters(made), *assigned_in(made.body)}:
        return None
    lines = [s for s in made.body.body if not _documents(s)]
    constructor = []
    for statement in init.body.body:
        part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        kept = isinstance(part, cst.Assign) and code(part).replace(" ", "") == f"self.{_PARAMETER}={_PARAMETER}"
        constructor += lines if kept else [statement]
    if len(constructor) != len(init.body.body) - 1 + len(lines):
        return None
    body = _handed_over(list(forward.body.body), call)
    if body is None:
        return None
    given = [p for p in init.params.params if p.name.value != _PARAMETER]
    added = [p for p in made.params.params if p.name.value != "self"]
    ordered = [p for p in (*given, *added) if p.default is None] + [
        p for p in (*given, *added) if p.default is not None
    ]
    ordered = [p.with_changes(comma=cst.MaybeSentinel.DEFAULT) for p in ordered]
    replaced = {
        id(init): init.with_changes(
            params=init.params.with_changes(params=ordered), body=init.body.with_changes(body=constructor)
        ),
        id(forward): forward.with_changes(body=forward.body.with_changes(body=body)),
    }
    members = [replaced.get(id(m), m) for m in pair.owner.body.body]
    return pair.owner.with_changes(body=pair.owner.body.with_changes(body=members))


def _handed_over(body: list[Statement], call: cst.FunctionDef) -> list[Statement] | None:
    """The forward with the body of ``call`` in place of ``return self.processor(self, ...)``."""
    last = body[-1]
    if isinstance(last, cst.If) and isinstance(last.orelse, cst.Else):
        ways = [[s for s in b.body if isinstance(s, cst.BaseStatement)] for b in (last.body, last.orelse.body)]
        fits = [_arguments(way[-1], call) for way in ways]
        if [f for f in fits if f is not None] and None in fits and all(len(way) == 1 for way in ways):
            wrong, right = (0, 1) if fits[0] is None else (1, 0)
            if not _calls(ways[wrong][0]):
                return None
            test = last.test if wrong == 0 else cst.UnaryOperation(cst.Not(), last.test)
            refuse = cst.parse_statement(f'raise TypeError("{call.params.params[1].name.value}: too many arguments")\n')
            guard = cst.If(test, cst.IndentedBlock([refuse]))  # as the call itself would
            rest = _handed_over([ways[right][0]], call)
            return None if rest is None else [*body[:-1], guard, *rest]
    given = _arguments(last, call)
    if given is None:
        return None
    moved = {n: v for n, v in given.items() if dotted(v) != n}
    if any(names_in(v) & set(moved) for v in moved.values()):
        return None
    before: list[Statement] = [
        cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(cst.Name(n))], v)]) for n, v in moved.items()
    ]
    attention = call.params.params[1].name.value
    if attention in assigned_in(call.body):
        return None
    inner = transform(call.body, Substitute({attention: cst.Name("self")}))
    return [*body[:-1], *before, *(s for s in inner.body if not _documents(s))]


def _calls(statement: Statement) -> cst.Call | None:
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
    value = part.value if isinstance(part, cst.Return) else None
    plain = isinstance(value, cst.Call) and dotted(value.func) == f"self.{_PARAMETER}" and value.args
    return value if plain and isinstance(value, cst.Call) and dotted(value.args[0].value) == "self" else None


def _arguments(statement: Statement, call: cst.FunctionDef) -> dict[str, cst.BaseExpression] | None:
    """What each parameter of ``call`` behind the module is given; None where the call does not fit."""
    handover = _calls(statement)
    params = [p for p in call.params.params[2:] if isinstance(p, cst.Param)]
    if handover is None or call.params.star_kwarg or any(a.star for a in handover.args):
        return None
    names = [p.name.value for p in params]
    positional = [a.value for a in handover.args[1:] if a.keyword is None]
    given = dict(zip(names, positional, strict=False))
    given |= {a.keyword.value: a.value for a in handover.args[1:] if a.keyword is not None}
    rest = {p.name.value: p.default for p in params if p.name.value not in given}
    if not set(given) <= set(names) or len(positional) > len(names) or None in rest.values():
        return None
    return given | {n: v for n, v in rest.items() if v is not None}


class _Constructions(cst.CSTTransformer):
    def __init__(self, pair: _Pair) -> None:
        self._pair = pair

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) != self._pair.owner.name.value:
            return updated_node
        args: list[cst.Arg] = []
        for arg in updated_node.args:
            if arg.keyword is not None and arg.keyword.value == _PARAMETER and isinstance(arg.value, cst.Call):
                args += [a.with_changes(comma=cst.MaybeSentinel.DEFAULT) for a in arg.value.args]
            else:
                args.append(arg)
        return updated_node.with_changes(args=args)


def _method(node: cst.ClassDef, name: str) -> cst.FunctionDef | None:
    return next((m for m in node.body.body if isinstance(m, cst.FunctionDef) and m.name.value == name), None)


def _parameters(node: cst.FunctionDef) -> list[str]:
    return [p.name.value for p in (*node.params.params, *node.params.kwonly_params) if p.name.value != "self"]


def _stored(node: cst.FunctionDef) -> set[str]:
    return {dotted(t.target) or "" for t in walk(node) if isinstance(t, cst.AssignTarget)}


def _documents(statement: Statement) -> bool:
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    return isinstance(part, cst.Expr) and isinstance(part.value, cst.SimpleString | cst.ConcatenatedString)
