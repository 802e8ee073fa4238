"""Which names, attributes and calls one statement of a class body holds: a method with all that it reads and writes.

Facts are kept per node, so that only what a pass has changed is read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import libcst as cst

from omniport.records import dataclass
from omniport.source.syntax import dotted
from omniport.source.walk import children, kinds

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


def member_facts(member: cst.CSTNode, flags: Mapping[str, str]) -> MemberFacts:
    """The facts of a statement of a class body; ``flags`` are those of its class."""
    held = kinds(member)
    return _read(
        member, tuple(flags.items()) if held is None or cst.If in held else ()
    )  # conditions alone ask for them


@functools.lru_cache(maxsize=2000)
def _read(member: cst.CSTNode, flags: tuple[tuple[str, str], ...]) -> MemberFacts:
    facts = MemberFacts(flags=dict(flags))
    _Collect(facts).visit(member)
    return facts


@functools.lru_cache(maxsize=20_000)
def _line_facts(line: cst.SimpleStatementLine) -> MemberFacts:
    """What a line reads, writes and calls, wherever it stands."""
    facts = MemberFacts()
    collect = _Collect(facts)
    for part in line.body:
        collect.visit(part)
    return facts


def add_counts(counts: Names, more: Names) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


def _kept(flags: Mapping[str, str]) -> dict[str, str]:
    """The flags by their attribute: outside the constructor a name is another local."""
    return {name: name for name in flags.values()}


def guard(test: cst.BaseExpression, value: bool, flags: Mapping[str, str]) -> Guards:
    """What holds where ``test`` is ``value``: of a flag by itself or negated, else nothing."""
    while isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        test, value = test.expression, not value
    name = dotted(test) or ""
    name = flags.get(name, name)
    return frozenset({(name, value)}) if name in flags.values() else frozenset()


class _Collect:
    """Reads one class; ``visit`` follows the tree, with rules of its own for what binds and what calls."""

    def __init__(self, facts: MemberFacts) -> None:
        self.facts = facts
        self.fn = ""
        self.loops: dict[str, str] = {}
        self.aliases: dict[str, str] = {}  # what locals were last set to: an attribute of self, "?" for anything else
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
            add_counts(table.setdefault(self.fn, {}), more.get("", {}))
        facts.own |= part.own
        if self.fn != "__init__":
            facts.outside_init |= part.own
        facts.other |= part.other
        facts.calls += [(call, name, self.loops.get(name, ""), self.guards) for call, name, _, _ in part.calls]
        for name in part.stores.get("", {}):
            self.aliases[name] = "?"
        for one in node.body:
            if isinstance(one, cst.Assign) and (dotted(one.value) or "").startswith("self."):
                names = (e.target.value for e in one.targets if isinstance(e.target, cst.Name))
                self.aliases |= dict.fromkeys(names, dotted(one.value) or "?")
            elif isinstance(one, cst.AugAssign) and isinstance(one.target, cst.Name):
                self.aliases[one.target.value] = "?"

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
            self.fn, self.loops, self.aliases = node.name.value, {}, {}
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
                self.guards = outer | guard(node.test, value, flags if self.fn == "__init__" else _kept(flags))
                self.visit(branch)
        self.guards = outer

    def nothing(self, node: cst.Annotation) -> None:
        """Annotations use no name at run time."""

    def target(self, node: cst.BaseExpression) -> None:
        if isinstance(node, cst.Name):
            self.count(self.facts.stores, node.value)
            self.aliases[node.value] = "?"
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
        """Note what the names of a loop go over, those of ``for i, (a, b) in enumerate(zip(x, y))`` too.

        The items of a slice are those of the list.
        """
        if isinstance(target, cst.Name):
            name = dotted(_sliced(iterated)) or "?"
            self.loops[target.value] = self.aliases.get(name, name)
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


def _sliced(node: cst.BaseExpression) -> cst.BaseExpression:
    """The list of which ``node`` is a slice; else ``node``."""
    while isinstance(node, cst.Subscript) and len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Slice):
        node = node.value
    return node


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
