"""The constructor refuses config values that the port was not specialised for; those it serves as well are kept."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.analyse.modes import Mode, shown
from omniport.rewrite.normal.fold import literal


def require_modes(node: cst.ClassDef, modes: Mapping[str, Mode]) -> cst.ClassDef:
    """``node`` with one statement per bound parameter, right after ``super().__init__()``.

    A mode that allows other values is kept in an attribute, and the forward takes what they leave out as None.
    """
    if not modes:
        return node
    first: list[cst.BaseStatement] = []
    resets: list[cst.BaseStatement] = []
    for name, mode in modes.items():
        if not mode.without:
            refusal = f"if {_differs(name, mode)}:\n    raise ValueError({_refusal(name, mode)})\n"
            first.append(cst.parse_statement(refusal))
            continue
        first.append(cst.parse_statement(f"self.{name} = {name}\n"))
        taken = "".join(f"    {without} = None\n" for without in mode.without)
        resets.append(cst.parse_statement(f"if {'not ' if mode.code else ''}self.{name}:\n{taken}"))
    members = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef) and member.name.value == "__init__":
            body = member.body.body
            member = member.with_changes(body=member.body.with_changes(body=[body[0], *first, *body[1:]]))
        elif isinstance(member, cst.FunctionDef) and member.name.value == "forward":
            body = member.body.body
            at = 1 if member.get_docstring() is not None else 0
            member = member.with_changes(body=member.body.with_changes(body=[*body[:at], *resets, *body[at:]]))
        members.append(member)
    return node.with_changes(body=node.body.with_changes(body=members))


def _differs(name: str, mode: Mode) -> str:
    written = [cst.Module([]).code_for_node(literal(value)) for value in mode.values]
    if len(written) > 1:
        return f"{name} not in ({', '.join(written)})"
    return f"{name} {'is not' if mode.values[0] is None else '!='} {written[0]}"


def _refusal(name: str, mode: Mode) -> str:
    return f'f"{{{name}=}} is not supported, only {shown(mode.values)} is"'
