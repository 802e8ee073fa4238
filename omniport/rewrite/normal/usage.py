"""Which names, attributes and parameters the classes of a module use, and who calls whom: what tidying rests on.

Facts are kept per class node, so that a round of tidying only looks again at the classes that the last one changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import field

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.normal.member_facts import Guards, MemberFacts, Names, guard, member_facts
from omniport.rewrite.normal.substitute import assigned_in
from omniport.source.syntax import dotted
from omniport.source.walk import children, of_kind


@dataclass(kw_only=True)
class ClassFacts(MemberFacts):
    """Facts of one class, and the class."""

    node: cst.ClassDef

    def function(self, name: str) -> cst.FunctionDef | None:
        members = (m for m in self.node.body.body if isinstance(m, cst.FunctionDef) and m.name.value == name)
        return next(members, None)


Call = tuple[str, cst.Call, frozenset[str]]


@dataclass
class Usage:
    """Facts of a module: of each class, and of the calls between them."""

    classes: dict[str, ClassFacts]
    _calls: Callable[[ClassFacts, frozenset[str]], list[tuple[tuple[str, str], Call]]] = field(repr=False)

    @functools.cached_property
    def sites(self) -> dict[tuple[str, str], list[Call]]:
        """The calls of each class's constructor and forward: the class that calls, the call, and every class the callee
        may be (``?`` for one that is not ours)."""
        names = frozenset(self.classes)
        found: dict[tuple[str, str], list[Call]] = {}
        for facts in self.classes.values():
            for callee, call in self._calls(facts, names):
                found.setdefault(callee, []).append(call)
        return found

    @functools.cached_property
    def read_elsewhere(self) -> frozenset[str]:
        """Attributes that any class reads of something other than its own ``self``."""
        return frozenset[str]().union(*(facts.other for facts in self.classes.values()))


class UsageCache:
    """Computes :class:`Usage`, reusing the facts of class nodes that did not change; nobody changes what it gives."""

    def __init__(self) -> None:
        self._facts: dict[str, ClassFacts] = {}
        self._members: dict[str, tuple[ClassFacts, frozenset[str], dict[str, Made]]] = {}
        self._calls: dict[str, tuple[ClassFacts, frozenset[str], list[tuple[tuple[str, str], Call]]]] = {}
        self._last: Usage | None = None

    def members(self, facts: ClassFacts, classes: frozenset[str]) -> dict[str, Made]:
        """Attribute -> classes of the module (or of the elements of the list) it holds, and when it does."""
        name = facts.node.name.value
        known = self._members.get(name)
        if known is None or known[0] is not facts or known[1] != classes:
            known = self._members[name] = (facts, classes, _members(facts, classes))
        return known[2]

    def of(self, classes: Mapping[str, cst.ClassDef]) -> Usage:
        for name, node in classes.items():
            known = self._facts.get(name)
            if known is None or known.node is not node:
                self._facts[name] = _class_facts(node)
        facts_by_class = {name: self._facts[name] for name in classes}
        last = self._last
        alike = last is not None and list(last.classes) == list(classes)
        if last is not None and alike and all(last.classes[name] is facts for name, facts in facts_by_class.items()):
            return last
        self._last = Usage(facts_by_class, self.calls)
        return self._last

    def calls(self, facts: ClassFacts, classes: frozenset[str]) -> list[tuple[tuple[str, str], Call]]:
        """The calls of classes of the module that a class makes, each with what is called."""
        name = facts.node.name.value
        known = self._calls.get(name)
        if known is not None and known[0] is facts and known[1] == classes:
            return known[2]
        members = self.members(facts, classes)
        found: list[tuple[tuple[str, str], Call]] = []
        for call, callee, iterated, guards in facts.calls:
            if callee in classes:
                found.append(((callee, "__init__"), (name, call, frozenset({callee}))))
                continue
            prefix, _, path = (iterated or callee).partition(".")
            if prefix == "self" and path in members:
                made = frozenset(c for c, under in members[path] if not _contradict(under, guards))
                found += [((cls, "forward"), (name, call, made)) for cls in made - {"?"}]
        self._calls[name] = (facts, classes, found)
        return found


def _class_facts(node: cst.ClassDef) -> ClassFacts:
    facts = ClassFacts(node=node, flags=_flags(node))
    for member in node.body.body:
        part = member_facts(member, facts.flags)
        for table, more in ((facts.loads, part.loads), (facts.stores, part.stores)):
            for function, names in more.items():
                table[function] = _sum(table[function], names) if function in table else names
        facts.own |= part.own
        facts.outside_init |= part.outside_init
        facts.other |= part.other
        facts.calls += part.calls
    return facts


def _sum(counts: Names, more: Names) -> Names:
    return {**counts, **{name: counts.get(name, 0) + count for name, count in more.items()}}


#: What statements of a constructor stand in.
_HOLDERS: frozenset[type] = frozenset({cst.BaseStatement, cst.BaseSuite, cst.Else, cst.Finally, cst.ExceptHandler})

#: Classes that an attribute may hold, each with the guards of the line that builds it.
Made = frozenset[tuple[str, Guards]]


def _contradict(one: Guards, two: Guards) -> bool:
    return any((name, not value) in two for name, value in one)


def _members(facts: ClassFacts, classes: frozenset[str]) -> dict[str, Made]:
    """Attribute -> classes of the module (or of the elements of the list) it holds, over all branches."""
    found: dict[str, Made] = {}
    local: dict[str, frozenset[str]] = {}
    init = facts.function("__init__")
    flags = facts.flags

    def add(table: dict[str, Made], name: str, made: frozenset[str], guards: Guards) -> None:
        table[name] = table.get(name, frozenset()) | {(cls, guards) for cls in made}

    def read(node: cst.CSTNode, guards: Guards) -> None:
        if type(node) is cst.If:
            for branch, value in ((node.body, True), (node.orelse, False)):
                if branch is not None:
                    read(branch, guards | guard(node.test, value, flags))
            return
        if type(node) is cst.SimpleStatementLine or type(node) is cst.SimpleStatementSuite:
            for part in node.body:
                read_part(part, guards)
            return
        for child in children(node):
            if not _HOLDERS.isdisjoint(type(child).__mro__):
                read(child, guards)

    def read_part(node: cst.BaseSmallStatement, guards: Guards) -> None:
        if type(node) is cst.Assign:
            made = _built(node.value, classes, local)
            for target in node.targets:
                name = dotted(target.target) or ""
                if name.startswith("self."):
                    add(found, name.removeprefix("self."), made, guards)
                else:
                    local[name] = local.get(name, frozenset()) | made
        elif type(node) is cst.Expr and isinstance(node.value, cst.Call):
            name = dotted(node.value.func) or ""
            if name.startswith("self.") and name.endswith(".append") and node.value.args:
                made = _built(node.value.args[0].value, classes, local)
                add(found, name[len("self.") : -len(".append")], made, guards)

    if init is not None:
        read(init.body, frozenset())
    return found


def _flags(cls: cst.ClassDef) -> dict[str, str]:
    """Parameters of the constructor that it keeps unchanged in an attribute, which nothing else sets."""
    members = (m for m in cls.body.body if isinstance(m, cst.FunctionDef) and m.name.value == "__init__")
    init = next(members, None)
    if init is None:
        return {}
    stored: dict[str, tuple[str, ...]] = {}
    for member in cls.body.body:
        for name, values in _stored(member).items():
            stored[name] = (*stored.get(name, ()), *values)
    params = {param.name.value for param in init.params.params} - assigned_in(init.body)
    return {values[0]: name for name, values in stored.items() if len(values) == 1 and values[0] in params}


@functools.lru_cache(maxsize=2000)
def _stored(member: cst.CSTNode) -> dict[str, tuple[str, ...]]:
    """Attribute -> what a statement of a class body stores in it: a name, "" for anything else."""
    found: dict[str, tuple[str, ...]] = {}
    for node in of_kind(member, cst.Assign):
        for each in node.targets:
            name = dotted(each.target) or ""
            if name.startswith("self."):
                found[name] = (*found.get(name, ()), dotted(node.value) or "")
    targets = [node.target for node in of_kind(member, cst.AugAssign)]
    for target in (*targets, *(node.target for node in of_kind(member, cst.AnnAssign))):
        name = dotted(target) or ""
        found[name] = (*found.get(name, ()), "")
    return found


def _built(node: cst.BaseExpression, classes: frozenset[str], local: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The classes that an expression builds, itself or in a list."""
    if isinstance(node, cst.Name):
        return frozenset() if node.value == "None" else local.get(node.value, frozenset({"?"}))
    if isinstance(node, cst.IfExp):
        return _built(node.body, classes, local) | _built(node.orelse, classes, local)
    if isinstance(node, cst.Call):
        name = dotted(node.func) or ""
        if name in classes:
            return frozenset({name})
        if name.split(".")[-1] in ("ModuleList", "Sequential"):
            return frozenset().union(*(_built(arg.value, classes, local) for arg in node.args))
        return frozenset({"?"})
    if isinstance(node, cst.List | cst.Tuple):
        return frozenset().union(*(_built(element.value, classes, local) for element in node.elements))
    if isinstance(node, cst.ListComp | cst.GeneratorExp):
        return _built(node.elt, classes, local)
    return frozenset({"?"})
