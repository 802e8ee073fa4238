"""What a request asks for stays a local of the call: on the pipeline, requests that run side by side would share it.

``self._guidance_scale = guidance_scale`` of the reference feeds properties that its callbacks read.  Where the call
alone reads it, itself or through properties, the local is read, and a property with a formula is a local, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import Block, Statement, bound, indented, pure, reads, suite
from omniport.rewrite.pipeline.docs import docstring
from omniport.rewrite.pipeline.walk import all_parameters, attributes, target_names
from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk

_TARGETS = (cst.AssignTarget, cst.AugAssign, cst.AnnAssign, cst.For, cst.CompFor, cst.AsName)
_SCOPES = (cst.FunctionDef, cst.Lambda)


@dataclass(frozen=True)
class _State:
    """An attribute that the call stores: the statement where it does first, how often it does, and its local."""

    first: int
    stores: int
    local: str


def with_local_state(
    methods: Mapping[str, cst.FunctionDef], entry: str, kept: Collection[str] = ()
) -> cst.FunctionDef | None:
    """``methods[entry]`` without such attributes; None if there is none.  ``kept`` are methods that others call."""
    node = methods[entry]
    stored = _stored(node)
    if not stored:
        return None
    flags = _formulas(methods, entry, kept)
    states = {name: s for name in stored if (s := _state(node, name)) is not None}
    states, flags = _settled(states, flags, methods, entry)
    return _Local(node, states, flags).made() if states else None


def _stored(node: cst.FunctionDef) -> list[str]:
    """Private attributes that lines of a method store."""
    names = (dotted(t.target) or "" for t in of_kind(node, cst.AssignTarget))
    return list(dict.fromkeys(n[5:] for n in names if n.startswith("self._") and n.count(".") == 1))


def _state(node: cst.FunctionDef, name: str) -> _State | None:
    """What is known of attribute ``self.name``; None if the call does more than to store it in lines and to read it."""
    block = suite(node.body)
    targets = [t for t in of_kind(node, cst.Attribute) if dotted(t) == f"self.{name}"]
    plain = {
        a.targets[0].target
        for a in of_kind(node, cst.Assign)
        if len(a.targets) == 1 and dotted(a.targets[0].target) == f"self.{name}"
    }
    others = [t for t in targets if t not in plain]
    if attributes(node).get(name, 0) != len(others) or any(t in _assigned(node) for t in others):
        return None
    first = next((i for i, s in enumerate(block) if _line(s, name) is not None), None)
    if first is None or any(t in plain for s in block[:first] for t in of_kind(s, cst.Attribute)):
        return None
    value = _line(block[first], name)
    given = value.value if isinstance(value, cst.Name) else None
    if len(plain) == 1 and given is not None:
        if given in bound(block[first + 1 :]) | _inner(node):
            return None
        return _State(first, 1, given)
    local = name.lstrip("_") if len(plain) == 1 else f"current{name}"
    return _State(first, len(plain), local) if local not in _names(node) else None


def _names(node: cst.FunctionDef) -> set[str]:
    """Names that a method, or a scope inside it, reads or binds."""
    block = suite(node.body)
    return {*reads(*block), *bound(block), *_inner(node), *(p.name.value for p in all_parameters(node.params))}


def _line(node: Statement, name: str) -> cst.BaseExpression | None:
    """The value of the line ``self.name = value``."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return None
    return small.value if dotted(small.targets[0].target) == f"self.{name}" else None


def _assigned(node: cst.FunctionDef) -> set[cst.CSTNode]:
    """What stands somewhere in the targets of assignments, loops and contexts."""
    found: set[cst.CSTNode] = set()
    for inner in walk(node):
        if isinstance(inner, _TARGETS):
            found.update(walk(inner.name if isinstance(inner, cst.AsName) else inner.target))
        elif isinstance(inner, cst.Del):
            found.update(walk(inner.target))
    return found


def _inner(node: cst.FunctionDef) -> set[str]:
    """Names that scopes inside a function bind."""
    found: set[str] = set()
    for inner in walk(node.body):
        if isinstance(inner, cst.CompFor):
            found |= target_names(inner.target)
        elif isinstance(inner, _SCOPES):
            found |= {p.name.value for p in all_parameters(inner.params)}
            if isinstance(inner, cst.FunctionDef):
                found |= bound(suite(inner.body))
    return found


def _formulas(
    methods: Mapping[str, cst.FunctionDef], entry: str, kept: Collection[str]
) -> dict[str, cst.BaseExpression]:
    """The properties that the call alone reads, or such properties, and that only compute something: their values."""
    others = [node for name, node in methods.items() if name not in (entry, "__init__")]
    targets = [t.target for node in others for t in of_kind(node, cst.AssignTarget)]
    targets += [t.target for node in others for t in of_kind(node, cst.AugAssign)]
    changing = {(dotted(t) or "").removeprefix("self.") for t in targets}
    found = {n: v for n, node in methods.items() if n not in kept and (v := _formula(node)) is not None}
    return {n: v for n, v in found.items() if not changing.intersection(a := attributes(v)) and n not in a}


def _formula(node: cst.FunctionDef) -> cst.BaseExpression | None:
    """What a property returns, if it does nothing else and looks at nothing but attributes."""
    if [dotted(d.decorator) for d in node.decorators] != ["property"]:
        return None
    body = suite(node.body)[1 if docstring(node) is not None else 0 :]
    small = body[0].body[0] if len(body) == 1 and isinstance(body[0], cst.SimpleStatementLine) else None
    if not isinstance(small, cst.Return) or small.value is None or not pure(small.value):
        return None
    bare = reads(small.value).keys() <= {"self", "None", "True", "False"}
    return small.value if bare and not of_kind(small.value, cst.Call) else None


def _settled(
    states: dict[str, _State],
    flags: dict[str, cst.BaseExpression],
    methods: Mapping[str, cst.FunctionDef],
    entry: str,
) -> tuple[dict[str, _State], dict[str, cst.BaseExpression]]:
    """The attributes that nothing but the call and such properties reads, behind the store; and those properties."""
    node = methods[entry]
    block = suite(node.body)
    stored = set(_stored(node))
    everywhere = {name: attributes(m) for name, m in methods.items()}
    while True:
        before = len(states), len(flags)
        flags = {
            name: value
            for name, value in flags.items()
            if all(a in states for a in attributes(value) if a in stored)
            and all(n == entry or n in flags for n, read in everywhere.items() if name in read)
        }
        states = {
            name: state
            for name, state in states.items()
            if all(n == entry or n in flags for n, read in everywhere.items() if name in read)
            and _reading(name, flags).isdisjoint(a for s in block[: state.first + 1] for a in attributes(s))
            and (state.stores == 1 or all(_is_alias(flags[f], name) for f in _reading(name, flags) - {name}))
        }
        if (len(states), len(flags)) == before:
            needed = set().union(*(_reading(name, flags) for name in states)) if states else set()
            return states, {n: v for n, v in flags.items() if n in needed}


def _is_alias(value: cst.BaseExpression, name: str) -> bool:
    return dotted(value) == f"self.{name}"


def _reading(name: str, flags: Mapping[str, cst.BaseExpression]) -> set[str]:
    """An attribute, and the properties whose value depends on it."""
    found = {name}
    while more := {f for f, value in flags.items() if f not in found and found.intersection(attributes(value))}:
        found |= more
    return found


class _Local:
    """The call with locals in the place of ``states``, and of the properties ``flags``."""

    def __init__(
        self, node: cst.FunctionDef, states: Mapping[str, _State], flags: Mapping[str, cst.BaseExpression]
    ) -> None:
        self.node, self.states = node, states
        self.names: dict[str, cst.BaseExpression] = {n: cst.Name(s.local) for n, s in states.items()}
        used = _names(node)
        self.made_at: dict[int, list[tuple[str, cst.BaseExpression]]] = {}
        formulas = {name: self._formula(name, flags) for name in flags}
        for name, value in formulas.items():
            if isinstance(value, cst.Name):
                self.names[name] = value
            elif name in attributes(node):
                if name in used:  # another thing of the same name
                    self.names[name] = value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
                    continue
                at = max(s.first for a, s in states.items() if name in _reading(a, flags))
                self.made_at.setdefault(at, []).append((name, value))
                self.names[name] = cst.Name(name)

    def _formula(self, name: str, flags: Mapping[str, cst.BaseExpression]) -> cst.BaseExpression:
        inner: dict[str, cst.BaseExpression] = {n: cst.Name(s.local) for n, s in self.states.items()}
        for other in attributes(flags[name]):
            if other in flags:
                value = self._formula(other, flags)
                plain = isinstance(value, cst.Name)
                inner[other] = value if plain else value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        found = transform(flags[name], _Replace(inner))
        assert isinstance(found, cst.BaseExpression)
        return found

    def made(self) -> cst.FunctionDef:
        lines: dict[cst.CSTNode, Block] = {}
        block = suite(self.node.body)
        for name, state in self.states.items():
            value = _line(block[state.first], name)
            if isinstance(value, cst.Name) and value.value == state.local:
                lines[block[state.first]] = []
        body: Block = []
        gap: list[cst.EmptyLine] = []
        for i, node in enumerate(block):
            new = transform(node, _Replace(self.names)) if lines.get(node) is None else None
            made = [*([new] if new is not None else []), *(self._flag(*f) for f in self.made_at.get(i, ()))]
            if new is None and made:
                made[0] = made[0].with_changes(leading_lines=node.leading_lines)
            if made and gap and not made[0].leading_lines:
                made[0] = made[0].with_changes(leading_lines=gap)
            gap = [] if made else [line for line in (*gap, *node.leading_lines) if line.comment is None][:1]
            body += made
        return self.node.with_changes(body=indented(body, self.node.body))

    def _flag(self, name: str, value: cst.BaseExpression) -> Statement:
        target = cst.AssignTarget(cst.Name(name))
        return cst.SimpleStatementLine([cst.Assign([target], value.with_changes(lpar=[], rpar=[]))])


class _Replace(cst.CSTTransformer):
    """Attributes of ``self`` by the expressions for them."""

    def __init__(self, names: Mapping[str, cst.BaseExpression]) -> None:
        self.names = names

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if not isinstance(original_node.value, cst.Name) or original_node.value.value != "self":
            return updated_node
        return self.names.get(original_node.attr.value, updated_node)
