"""Which names, attributes and parameters the classes of a module use, and who calls whom: what tidying rests on.

Facts are kept per class node, so that a round of tidying only looks again at the classes that the last one changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

from omniport.rewrite.normal.substitute import assigned_in
from omniport.source.syntax import dotted
from omniport.source.walk import children, of_kind

Names = dict[str, int]

#: What holds where a statement stands: a flag that the constructor keeps, and whether it is true.
Guards = frozenset[tuple[str, bool]]


@dataclass
class MemberFacts:
    """Facts of one class, or of one statement of its body.

    ``loads`` and ``stores`` count reads and writes of local names by function; ``own`` are the attributes it reads of
    ``self``, ``other`` those it reads of anything else; ``calls`` are its calls, each with its callee, what a name that
    is called iterates over, and the guards that it stands under; ``flags`` are parameters of the constructor that are
    kept unchanged, with the attribute.
    """

    loads: dict[str, Names] = field(default_factory=dict)
    stores: dict[str, Names] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    outside_init: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)
    calls: list[tuple[cst.Call, str, str, Guards]] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)


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
    """Facts of a module: of each class, and of the calls between them.

    ``sites`` are the calls of each class's constructor and forward: the class that calls, the call, and every class the
    callee may be (``?`` for one that is not ours).
    """

    classes: dict[str, ClassFacts]
    sites: dict[tuple[str, str], list[Call]]

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
        names = frozenset(classes)
        sites: dict[tuple[str, str], list[Call]] = {}
        for name, facts in facts_by_class.items():
            for callee, call in self.calls(name, facts, names):
                sites.setdefault(callee, []).append(call)
        self._last = Usage(facts_by_class, sites)
        return self._last

    def calls(self, name: str, facts: ClassFacts, classes: frozenset[str]) -> list[tuple[tuple[str, str], Call]]:
        """The calls of classes of the module that a class makes, each with what is called."""
        known = self._calls.get(name)
        if known is not None and known[0] is facts and known[1] == classes:
            return known[2]
        members = self.members(facts, classes)
        found: list[tuple[tuple[str, str], Call]] = []
        for call, callee, iterated, guards in facts.calls:
            if callee in classes:
                found.append(((callee, "__init__"), (name, call, frozenset({callee}))))
                continue
            path = (iterated or callee).removeprefix("self.")
            if path in members:
                made = frozenset(c for c, under in members[path] if not _contradict(under, guards))
                found += [((cls, "forward"), (name, call, made)) for cls in made - {"?"}]
        self._calls[name] = (facts, classes, found)
        return found


def _class_facts(node: cst.ClassDef) -> ClassFacts:
    facts = ClassFacts(node=node, flags=_flags(node))
    for member in node.body.body:
        part = _member_facts(member, tuple(facts.flags.items()))
        for table, more in ((facts.loads, part.loads), (facts.stores, part.stores)):
            for function, names in more.items():
                _add(table.setdefault(function, {}), names)
        facts.own |= part.own
        facts.outside_init |= part.outside_init
        facts.other |= part.other
        facts.calls += part.calls
    return facts


def _add(counts: Names, more: Names) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


@functools.lru_cache(maxsize=20_000)
def _line_facts(line: cst.SimpleStatementLine) -> MemberFacts:
    """What a line reads, writes and calls, wherever it stands."""
    facts = MemberFacts()
    collect = _Collect(facts)
    for part in line.body:
        collect.visit(part)
    return facts


@functools.lru_cache(maxsize=2000)
def _member_facts(member: cst.CSTNode, flags: tuple[tuple[str, str], ...]) -> MemberFacts:
    facts = MemberFacts(flags=dict(flags))
    _Collect(facts).visit(member)
    return facts


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
                    read(branch, guards | _guard(node.test, value, flags))
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
    stored: dict[str, list[str]] = {}
    for node in of_kind(cls, cst.Assign):
        for each in node.targets:
            name = dotted(each.target) or ""
            if name.startswith("self."):
                stored.setdefault(name, []).append(dotted(node.value) or "")
    targets = [node.target for node in of_kind(cls, cst.AugAssign)]
    for target in (*targets, *(node.target for node in of_kind(cls, cst.AnnAssign))):
        stored.setdefault(dotted(target) or "", []).append("")
    params = {param.name.value for param in init.params.params} - assigned_in(init.body)
    return {values[0]: name for name, values in stored.items() if len(values) == 1 and values[0] in params}


def _kept(flags: Mapping[str, str]) -> dict[str, str]:
    """The flags by their attribute: outside the constructor a name is another local."""
    return {name: name for name in flags.values()}


def _guard(test: cst.BaseExpression, value: bool, flags: Mapping[str, str]) -> Guards:
    """What holds where ``test`` is ``value``: of a flag by itself or negated, else nothing."""
    while isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        test, value = test.expression, not value
    name = dotted(test) or ""
    name = flags.get(name, name)
    return frozenset({(name, value)}) if name in flags.values() else frozenset()


def _built(node: cst.BaseExpression, classes: frozenset[str], local: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The classes that an expression builds, itself or in a list."""
    if isinstance(node, cst.Name):
        return local.get(node.value, frozenset({"?"}))
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


class _Collect:
    """Reads one class; ``visit`` follows the tree, with rules of its own for what binds and what calls."""

    def __init__(self, facts: MemberFacts) -> None:
        self.facts = facts
        self.fn = ""
        self.loops: dict[str, str] = {}
        self.guards: Guards = frozenset()

    def count(self, table: dict[str, Names], name: str) -> None:
        names = table.setdefault(self.fn, {})
        names[name] = names.get(name, 0) + 1

    def visit(self, node: cst.CSTNode) -> None:
        rule = _RULES.get(type(node))
        if rule is not None:
            rule(self, node)
        else:
            for child in children(node):
                self.visit(child)

    def line(self, node: cst.SimpleStatementLine) -> None:
        part, facts = _line_facts(node), self.facts
        for table, more in ((facts.loads, part.loads), (facts.stores, part.stores)):
            _add(table.setdefault(self.fn, {}), more.get("", {}))
        facts.own |= part.own
        if self.fn != "__init__":
            facts.outside_init |= part.own
        facts.other |= part.other
        facts.calls += [(call, name, self.loops.get(name, ""), self.guards) for call, name, _, _ in part.calls]

    def name(self, node: cst.Name) -> None:
        self.count(self.facts.loads, node.value)

    def argument(self, node: cst.Arg) -> None:
        self.visit(node.value)

    def assigned(self, node: cst.AssignTarget) -> None:
        self.target(node.target)

    def annotated(self, node: cst.AnnAssign) -> None:
        self.target(node.target)
        if node.value is not None:
            self.visit(node.value)

    def function(self, node: cst.FunctionDef) -> None:
        outer = self.fn
        if not outer:
            self.fn, self.loops = node.name.value, {}
        self.visit(node.params)
        self.visit(node.body)
        self.fn = outer

    def parameter(self, node: cst.Param) -> None:
        if node.default is not None:
            self.visit(node.default)

    def call(self, node: cst.Call) -> None:
        callee = node.func.value if isinstance(node.func, cst.Subscript) else node.func
        name = dotted(callee)
        if name:
            self.facts.calls.append((node, name, self.loops.get(name, ""), self.guards))
        for child in children(node):
            self.visit(child)

    def condition(self, node: cst.If) -> None:
        self.visit(node.test)
        outer = self.guards
        for branch, value in ((node.body, True), (node.orelse, False)):
            if branch is not None:
                flags = self.facts.flags
                self.guards = outer | _guard(node.test, value, flags if self.fn == "__init__" else _kept(flags))
                self.visit(branch)
        self.guards = outer

    def nothing(self, node: cst.Annotation) -> None:
        """Annotations use no name at run time."""

    def target(self, node: cst.BaseExpression) -> None:
        if isinstance(node, cst.Name):
            self.count(self.facts.stores, node.value)
        elif isinstance(node, cst.Tuple | cst.List):
            for element in node.elements:
                self.target(element.value)
        elif isinstance(node, cst.Attribute):
            self.visit(node.value)
        else:
            self.visit(node)

    def loop(self, node: cst.For) -> None:
        self.visit(node.iter)
        self.target(node.target)
        self.over(node.target, node.iter)
        self.visit(node.body)

    def over(self, target: cst.BaseExpression, iterated: cst.BaseExpression) -> None:
        """Note what the names of a loop go over, those of ``for i, (a, b) in enumerate(zip(x, y))`` too."""
        if isinstance(target, cst.Name):
            self.loops[target.value] = dotted(iterated) or "?"
        elif isinstance(target, cst.Tuple) and isinstance(iterated, cst.Call):
            called = dotted(iterated.func)
            elements = [element.value for element in target.elements]
            over = [arg.value for arg in iterated.args]
            if called == "enumerate":
                elements = elements[1:]
            if called in ("enumerate", "zip"):
                for each, items in zip(elements, over, strict=False):
                    self.over(each, items)

    def attribute(self, node: cst.Attribute) -> None:
        if isinstance(node.value, cst.Name) and node.value.value == "self":
            self.facts.own.add(node.attr.value)
            if self.fn != "__init__":
                self.facts.outside_init.add(node.attr.value)
        else:
            if (dotted(node.value) or "").split(".")[0] not in ("torch", "F", "nn", "np", "math"):
                self.facts.other.add(node.attr.value)
            self.visit(node.value)


#: What is read by a rule of its own; the children of any other node are visited.
_RULES: dict[type[cst.CSTNode], Callable[[_Collect, Any], None]] = {
    cst.AnnAssign: _Collect.annotated,
    cst.Annotation: _Collect.nothing,
    cst.Arg: _Collect.argument,
    cst.AssignTarget: _Collect.assigned,
    cst.Attribute: _Collect.attribute,
    cst.Call: _Collect.call,
    cst.For: _Collect.loop,
    cst.FunctionDef: _Collect.function,
    cst.If: _Collect.condition,
    cst.Name: _Collect.name,
    cst.Param: _Collect.parameter,
    cst.SimpleStatementLine: _Collect.line,
}
