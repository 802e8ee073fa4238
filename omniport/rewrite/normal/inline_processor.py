"""``return self.processor(self, ...)`` becomes the processor's own body, with ``attn`` read as ``self``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.normal.substitute import Substitute, assigned_in, names_in
from omniport.source.slice import marker
from omniport.source.syntax import code, constant, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk


def inline_processor(
    node: cst.ClassDef, call: cst.FunctionDef, constants: Mapping[str, Any], masks: str = ""
) -> cst.ClassDef:
    """The attention class with the processor's ``__call__`` as its forward.

    Args:
        node: the attention class, its forward ending in ``return self.processor(self, ...)``.
        call: the processor's ``__call__(self, attn, ...)``.
        constants: class attributes of the processor, read as ``self.<name>`` in ``call``.
        masks: where its module makes block masks, for a refusal.

    Raises:
        UnsupportedError: the forward does not hand over to a processor, or the processor reads state of its own, or
            attends by flex attention.
    """
    if (place := _flex(call, constants)) is not None:
        raise UnsupportedError(f"processor of {node.name.value} attends by {BLOCK_MASKS}{masks}", *place)
    forward = next(f for f in node.body.body if isinstance(f, cst.FunctionDef) and f.name.value == "forward")
    handover = _handover(forward)
    if handover is None:
        raise UnsupportedError(f"{node.name.value}.forward calls no processor", *(marker(forward) or ("", 0)))
    params = [p for p in call.params.params if p.name.value != "self"]
    attn, params = params[0].name.value, params[1:]
    given: dict[str, cst.BaseExpression] = {}
    for param, arg in zip(params, [a for a in handover.args[1:] if not a.keyword and not a.star], strict=False):
        given[param.name.value] = arg.value
    given.update({a.keyword.value: a.value for a in handover.args[1:] if a.keyword is not None})

    given.update(_prepared(node, forward, handover, {p.name.value for p in params}))
    passed_on: list[cst.Param] = []
    if forward.params.star_kwarg is not None and any(arg.star == "**" for arg in handover.args):
        own = {p.name.value for p in forward.params.params}
        optional = any(p.default is not None for p in forward.params.params)  # nothing required comes after these
        for param in params:
            follows = param.default is not None or not optional
            if param.name.value not in given and param.name.value not in own and follows:
                passed_on.append(param.with_changes(comma=cst.MaybeSentinel.DEFAULT))
                given[param.name.value] = cst.Name(param.name.value)

    body = transform(call.body, _OwnState(constants, node.name.value, marker(call) or ("", 0)))
    assert isinstance(body, cst.IndentedBlock)
    names: dict[str, cst.BaseExpression] = {attn: cst.Name("self")}
    before: list[cst.BaseStatement] = []
    changed = assigned_in(body)
    for param in params:
        name = param.name.value
        value = given.get(name, param.default)
        if value is None:
            raise UnsupportedError(f"{node.name.value} gives its processor no {name}", *(marker(forward) or ("", 0)))
        if dotted(value) == name:
            continue
        if name in changed or not isinstance(value, cst.Name):
            assign = cst.Assign([cst.AssignTarget(cst.Name(name))], value.deep_clone())
            before.append(cst.SimpleStatementLine([assign]))
        else:
            names[name] = value
    body = transform(body, Substitute(names))
    assert isinstance(body, cst.IndentedBlock)
    statements = [s for s in body.body if not _docstring(s)]
    new = forward.with_changes(
        params=forward.params.with_changes(
            params=[*forward.params.params, *passed_on], star_kwarg=None, star_arg=cst.MaybeSentinel.DEFAULT
        ),
        body=body.with_changes(body=[*before, *statements]),
    )
    members = [new if member is forward else member for member in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def block_masks(lines: Sequence[str]) -> str:
    """What a refusal says of the block masks that a module makes: where, and that no rule makes them dense."""
    made = next((n for n, line in enumerate(lines, 1) if "create_block_mask(" in line), None)
    return f"; its mask is made in line {made} by create_block_mask, and no rule makes it a dense one" if made else ""


BLOCK_MASKS = "flex attention, whose block masks vLLM-Omni's layer lacks"
_FLEX = ("flex", "_native_flex")  # values of AttentionBackendName in diffusers/models/attention_dispatch.py


def _flex(call: cst.FunctionDef, constants: Mapping[str, Any]) -> tuple[str, int] | None:
    """Where a processor asks for diffusers' flex backend, whatever backend is chosen; None if it does not."""
    chosen = constants.get("_attention_backend") in _FLEX
    for statement in of_kind(call, cst.SimpleStatementLine):
        for arg in of_kind(statement, cst.Arg):
            named = arg.keyword is not None and arg.keyword.value == "backend"
            text = dotted(arg.value) if named else None
            if text == "AttentionBackendName.FLEX" or chosen and text == "self._attention_backend":
                return marker(statement) or marker(call) or ("", 0)
    return None


def _prepared(
    node: cst.ClassDef, forward: cst.FunctionDef, handover: cst.Call, accepted: set[str]
) -> dict[str, cst.BaseExpression]:
    """What the statements before the hand-over put into its ``**kwargs``: ``kwargs["mask"] = mask``.

    Otherwise they may only filter the kwargs by the processor's signature.

    Raises:
        UnsupportedError: they prepare an argument in another way.
    """
    kwargs = next((dotted(arg.value) or "" for arg in handover.args if arg.star == "**"), "")
    handed = frozenset().union(*(names_in(arg.value) for arg in handover.args)) - {kwargs}
    found: dict[str, cst.BaseExpression] = {}
    for statement in forward.body.body[: -2 if code(forward.body.body[-1]).count("processor") == 0 else -1]:
        for part in walk(statement):
            if not isinstance(part, cst.Assign):
                continue
            target = part.targets[0].target
            stored = isinstance(target, cst.Subscript) and dotted(target.value) == kwargs
            index = target.slice[0].slice if stored and isinstance(target, cst.Subscript) else None
            key = constant(index.value) if isinstance(index, cst.Index) else ...
            if isinstance(key, str) and key in accepted:
                found[key] = part.value
            elif assigned_in(part) & handed or stored:
                where = marker(statement) or marker(forward) or ("", 0)
                raise UnsupportedError(f"{node.name.value}.forward prepares arguments of its processor", *where)
    return found


def has_handover(node: cst.ClassDef) -> bool:
    """Whether the class's forward ends in a call of ``self.processor``."""
    functions = (f for f in node.body.body if isinstance(f, cst.FunctionDef) and f.name.value == "forward")
    return any(_handover(f) is not None for f in functions)


def _handover(forward: cst.FunctionDef) -> cst.Call | None:
    parts = [s.body[0] for s in forward.body.body[-2:] if isinstance(s, cst.SimpleStatementLine)]
    if not parts or not isinstance(parts[-1], cst.Return):
        return None
    value = parts[-1].value
    before = parts[0] if len(parts) == 2 else None
    if isinstance(value, cst.Name) and isinstance(before, cst.Assign):
        value = before.value if dotted(before.targets[0].target) == value.value else None
    return value if isinstance(value, cst.Call) and dotted(value.func) == "self.processor" else None


def _docstring(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    if not isinstance(statement, cst.SimpleStatementLine) or not isinstance(statement.body[0], cst.Expr):
        return False
    return isinstance(statement.body[0].value, cst.SimpleString | cst.ConcatenatedString)


class _OwnState(cst.CSTTransformer):
    """``self.<constant>`` of the processor becomes the constant."""

    def __init__(self, constants: Mapping[str, Any], owner: str, where: tuple[str, int]) -> None:
        self.constants, self.owner, self.where = constants, owner, where

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if dotted(original_node.value) != "self":
            return updated_node
        name = original_node.attr.value
        if name not in self.constants:
            raise UnsupportedError(f"processor of {self.owner} reads {code(original_node)}", *self.where)
        return cst.parse_expression(repr(self.constants[name]))
