"""Remove what nothing reads: local values, attributes, methods, assignments of a name to itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import libcst as cst

from omniport.analyse import knowledge
from omniport.rewrite.normal.substitute import assigned_in, names_in
from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import code, dotted
from omniport.source.walk import children, of_kind

_PURE_CALLS = frozenset(
    {"int", "float", "str", "bool", "len", "tuple", "list", "dict", "set", "min", "max", "abs"}
    | {"hasattr", "getattr", "isinstance"}
    | knowledge.DECIDED_CALLS.keys()
    | {"AttentionBackendName", "_AttentionBackendRegistry.get_active_backend"}  # read diffusers' choice of a backend
)


def pure(node: cst.CSTNode) -> bool:
    """Whether evaluating ``node`` has no effect: no call but of a few builtins, no await, no walrus."""
    kind: type[cst.CSTNode] = type(node)
    if kind in _LEAVES:
        return True
    if kind in _EFFECTS or type(node) is cst.Call and (dotted(node.func) or "") not in _PURE_CALLS:
        return False
    return all(pure(c) for c in children(node))


_LEAVES: frozenset[type[cst.CSTNode]] = frozenset({cst.Name, cst.Integer, cst.Float, cst.SimpleString})
_EFFECTS: frozenset[type[cst.CSTNode]] = frozenset({cst.NamedExpr, cst.Await, cst.Yield})


def drop_dead_code(node: cst.ClassDef, facts: Usage, kept: frozenset[str] = frozenset()) -> cst.ClassDef:
    """``node`` without statements and methods that have no reader; the same object if there are none.

    One round: removing a value may make another one dead.  ``kept`` are members that code outside of the module reads.
    """
    own = facts.classes[node.name.value]
    read = own.own | facts.read_elsewhere | kept
    members: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    changed = False
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef):
            if member.name.value not in ("__init__", "forward") and member.name.value not in read:
                changed = True
                continue
            body = _Dead(_others(member, own.loads.get(member.name.value, {})), read).body(member.body)
            if body is not member.body:
                changed = True
                member = member.with_changes(body=body)
        members.append(member)
    return node.with_changes(body=node.body.with_changes(body=members)) if changed else node


def _others(function: cst.FunctionDef, loads: dict[str, int]) -> dict[str, int]:
    """The reads of each name but those by which it only feeds itself, ``x = Kind(x)``."""
    own: Counter[str] = Counter()
    for part in of_kind(function, cst.Assign):
        if len(part.targets) == 1 and isinstance(part.targets[0].target, cst.Name):
            name = part.targets[0].target.value
            if name in names_in(part.value) and pure(part.value):
                own[name] += sum(node.value == name for node in of_kind(part.value, cst.Name))
    return {name: count for name, count in loads.items() if count > own[name]} if own else loads


class _Dead:
    def __init__(self, loads: dict[str, int], attributes: set[str]) -> None:
        self.loads, self.attributes = loads, attributes

    def body(self, block: cst.BaseSuite) -> cst.BaseSuite:
        """The block without dead statements; the same object if there are none."""
        out: list[cst.BaseStatement | cst.BaseSmallStatement] = []
        changed = False
        for index, statement in enumerate(block.body):
            if self.removable(statement, block.body[index + 1 :]):
                changed = True
                continue
            inner = self.nested(statement)  # type: ignore[arg-type]  # a block holds statements alone
            changed |= inner is not statement
            out.append(inner)
        return block.with_changes(body=out) if changed else block

    def nested(
        self, statement: cst.BaseStatement | cst.BaseSmallStatement
    ) -> cst.BaseStatement | cst.BaseSmallStatement:
        if type(statement) is cst.SimpleStatementLine:
            return statement
        if isinstance(statement, cst.If | cst.For | cst.While | cst.With):
            body = self.body(statement.body)
            new = statement.with_changes(body=body) if body is not statement.body else statement
            orelse = getattr(statement, "orelse", None)
            if isinstance(orelse, cst.If):
                inner = self.nested(orelse)
            elif isinstance(orelse, cst.Else):
                block = self.body(orelse.body)
                inner = orelse.with_changes(body=block) if block is not orelse.body else orelse  # type: ignore[assignment]
            else:
                return new
            return new.with_changes(orelse=inner) if inner is not orelse else new
        return statement

    def removable(self, statement: cst.CSTNode, following: Sequence[cst.CSTNode]) -> bool:
        part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if not isinstance(part, cst.Assign):
            return False
        if (
            len(part.targets) == 1
            and isinstance(part.value, cst.Name)
            and code(part.targets[0].target) == part.value.value
        ):
            return True
        if all(self.dead(t.target) for t in part.targets):
            return pure(part.value)
        if not all(isinstance(t.target, cst.Name) for t in part.targets):
            return False
        names = assigned_in(part)
        return bool(names) and all(_overwritten(name, following) for name in names) and pure(part.value)

    def dead(self, target: cst.BaseExpression) -> bool:
        if isinstance(target, cst.Name):
            return target.value not in self.loads
        if isinstance(target, cst.Tuple):
            return all(self.dead(element.value) for element in target.elements)
        if isinstance(target, cst.Attribute) and (dotted(target) or "").startswith("self."):
            name = target.attr.value
            own = dotted(target.value) == "self"
            # Another object reads its own public attributes (``self.llm.config.use_cache``); a private one that is set
            # from outside is a note of the module's own.
            return (own or name.startswith("_")) and name not in self.attributes
        return False


def _overwritten(name: str, following: Sequence[cst.CSTNode]) -> bool:
    """Whether the statements set ``name`` again before anything reads it."""
    for statement in following:
        part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if not isinstance(part, cst.Assign):
            if name in names_in(statement):
                return False
            continue
        if name in names_in(part.value):
            return False
        if name in assigned_in(part):
            return True
        if any(name in names_in(target) for target in part.targets):
            return False
    return False
