"""The constructor refuses config values that the port was not specialised for."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.normal.fold import literal


def require_modes(node: cst.ClassDef, modes: Mapping[str, object]) -> cst.ClassDef:
    """``node`` with one check per bound parameter, right after ``super().__init__()``."""
    if not modes:
        return node
    checks = [
        cst.parse_statement(
            f"if {name} != {cst.Module([]).code_for_node(literal(value))}:\n"
            f'    raise ValueError(f"{{{name}=}} is not supported, only {value!r} is")\n'
        )
        for name, value in modes.items()
    ]
    members = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef) and member.name.value == "__init__":
            body = member.body.body
            member = member.with_changes(body=member.body.with_changes(body=[body[0], *checks, *body[1:]]))
        members.append(member)
    return node.with_changes(body=node.body.with_changes(body=members))
