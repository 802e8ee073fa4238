"""``context = hidden_states`` goes where both names mean the same as long as the alias is read.

Inlined processors leave such lines: self-attention reads its keys from an alias of what it reads its queries from,
which hides from the planner that one fused projection can make all three.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.normal.substitute import Substitute, assigned_in, names_in
from omniport.rewrite.normal.usage import Usage
from omniport.source.transform import transform
from omniport.source.walk import walk

Statement = cst.BaseStatement | cst.BaseSmallStatement


def inline_local_aliases(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``node`` without aliases at the top level of its methods; the same object if there are none."""
    stores = facts.classes[node.name.value].stores
    members = []
    changed = False
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef) and member.name.value != "__init__":
            once = {name for name, count in stores.get(member.name.value, {}).items() if count == 1}
            body = _without(member.body.body, once - {p.name.value for p in member.params.params})
            if body is not None:
                changed = True
                member = member.with_changes(body=member.body.with_changes(body=body))
        members.append(member)
    return node.with_changes(body=node.body.with_changes(body=members)) if changed else node


def _without(body: Sequence[Statement], once: set[str]) -> list[Statement] | None:
    """The statements without their first alias that can go, None if there is none."""
    for index, statement in enumerate(body):
        alias, name = _alias(statement)
        after = body[index + 1 :]
        if alias in once and name and _same(after, alias, name):
            swap = Substitute({alias: cst.Name(name)})
            return [*body[:index], *(transform(s, swap) if alias in names_in(s) else s for s in after)]
    return None


def _alias(statement: Statement) -> tuple[str, str]:
    if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        part = statement.body[0]
        if isinstance(part, cst.Assign) and len(part.targets) == 1:
            target, value = part.targets[0].target, part.value
            if isinstance(target, cst.Name) and isinstance(value, cst.Name) and target.value != value.value:
                return target.value, value.value
    return "", ""


def _same(after: Sequence[Statement], alias: str, name: str) -> bool:
    """Whether ``name`` still is what ``alias`` is in every statement that reads the alias."""
    rebound = read = False
    for statement in after:
        if alias in names_in(statement):
            read = True
            if rebound or any(isinstance(part, cst.FunctionDef | cst.Lambda) for part in walk(statement)):
                return False
            plain = isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Assign)
            if name in assigned_in(statement) and not plain:  # a plain assignment reads before it binds
                return False
        rebound = rebound or name in assigned_in(statement)
    return read
