"""What the facts decide: the value of an expression, as far as they go."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import libcst as cst

from omniport.records import dataclass
from omniport.source.syntax import code, dotted

_NAMED = {"None": None, "True": True, "False": False}
_ORDER = {cst.LessThan: operator.lt, cst.LessThanEqual: operator.le, cst.GreaterThan: operator.gt}


class _Sentinel:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


UNKNOWN = _Sentinel("unknown")
PRESENT = _Sentinel("present")  # some object: true, and not None
EMPTY = _Sentinel("empty")  # a dictionary without entries


@dataclass(frozen=True)
class Facts:
    """What is decided before any statement is looked at.

    Args:
        values: dotted name -> None, True, False or PRESENT.
        calls: dotted function name -> the value of every call of it.
        removed_calls: functions whose call, standing as a statement, goes.
        unwrapped: last part of the function name of context managers that go, their body staying.
        absent_bases: base classes that the port does not have: ``isinstance(self, Base)`` is False.
        lists: names that hold a list or None: never a ``str``.
        configs: config object -> the keys it has, so that ``getattr`` and ``hasattr`` of it are decided.
        classes: dotted name -> its class and the bases of it, so that ``isinstance`` of another class is False.
        unwritten: names that decide conditions by their value, which is written nowhere in their place.
        signatures: dotted function name -> its parameters, for ``"x" in set(inspect.signature(f).parameters.keys())``.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[str, Any] = field(default_factory=dict)
    removed_calls: frozenset[str] = frozenset()
    unwrapped: frozenset[str] = frozenset()
    absent_bases: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unwritten: frozenset[str] = frozenset()
    signatures: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """Last parts of the names that the facts can fold or remove; what holds none has no decision of its own."""
        decided = {name for name, value in self.values.items() if value is not PRESENT}
        names = {
            *decided,
            *self.calls,
            *self.removed_calls,
            "getattr",
            "type",
            *(["signature"] if self.signatures else []),
        }
        return frozenset(name.rpartition(".")[2] for name in names)

    def having(self, values: Mapping[str, Any]) -> Facts:
        """These facts and ``values``."""
        return replace(self, values={**self.values, **values})


def literal(value: Any) -> cst.BaseExpression:
    return cst.parse_expression(repr(value))


def is_literal(value: Any) -> bool:
    return value is None or isinstance(value, int)


def evaluate(node: cst.BaseExpression, facts: Facts) -> Any:
    """The value of ``node`` as None, True, False, a number or PRESENT; UNKNOWN if the facts do not decide it."""
    if type(node) is cst.Name or type(node) is cst.Attribute:
        name = dotted(node)
        if name in _NAMED:
            return _NAMED[name]
        return facts.values.get(name, UNKNOWN) if name else UNKNOWN
    if type(node) is cst.Integer:
        return int(node.value, 0)
    if type(node) is cst.UnaryOperation and type(node.operator) is cst.Not:
        value = evaluate(node.expression, facts)
        return UNKNOWN if value is UNKNOWN else not value
    if type(node) is cst.BooleanOperation:
        return _boolean(node, facts)
    if type(node) is cst.Comparison and len(node.comparisons) == 1:
        return _comparison(node, facts)
    if type(node) is cst.Call:
        return _call(node, facts)
    return UNKNOWN


def _boolean(node: cst.BooleanOperation, facts: Facts) -> Any:
    left, right = evaluate(node.left, facts), evaluate(node.right, facts)
    stops = isinstance(node.operator, cst.Or)
    if left is not UNKNOWN:
        return left if bool(left) is stops else right
    return UNKNOWN


def _comparison(node: cst.Comparison, facts: Facts) -> Any:
    sign, other = node.comparisons[0].operator, node.comparisons[0].comparator
    if type(sign) in _ORDER and isinstance(other, cst.Integer):
        number = evaluate(node.left, facts)
        return _ORDER[type(sign)](number, int(other.value)) if type(number) is int else UNKNOWN
    if isinstance(sign, cst.In | cst.NotIn) and evaluate(other, facts) is EMPTY:
        return isinstance(sign, cst.NotIn)
    if (taken := takes(node, facts)) is not None:
        return taken
    if not isinstance(sign, cst.Is | cst.IsNot) or dotted(other) != "None":
        return UNKNOWN
    value = evaluate(node.left, facts)
    if value is UNKNOWN:
        return UNKNOWN
    return (value is None) is isinstance(sign, cst.Is)


def takes(node: cst.Comparison, facts: Facts) -> bool | None:
    """Whether a function of known signature takes a parameter, where ``node`` asks that."""
    sign, right = node.comparisons[0].operator, node.comparisons[0].comparator
    if not facts.signatures or not isinstance(sign, cst.In) or not isinstance(node.left, cst.SimpleString):
        return None
    asked = _INSPECTED.fullmatch(code(right).strip())
    known = facts.signatures.get(asked[1]) if asked else None
    return None if known is None else node.left.evaluated_value in known


_INSPECTED = re.compile(r"(?:set\()?inspect\.signature\(([\w.]+)\)\.parameters(?:\.keys\(\))?\)?")


def _call(node: cst.Call, facts: Facts) -> Any:
    name = dotted(node.func)
    if name is not None and name in facts.calls:
        return facts.calls[name]
    arguments = [a.value for a in node.args]
    if name in ("all", "any") and len(arguments) == 1 and isinstance(arguments[0], cst.GeneratorExp):
        # the list of a parameter that is gone has no elements
        return name == "all" if evaluate(arguments[0].for_in.iter, facts) is None else UNKNOWN
    if name == "isinstance" and len(arguments) == 2:
        what, kind = dotted(arguments[0]), dotted(arguments[1])
        if what == "self" and kind and (kind in facts.absent_bases or kind.endswith("Mixin")):
            return False
        if what in facts.lists and kind == "str":
            return False
        kinds = _kinds(arguments[1])
        if what is not None and what in facts.classes and all(k.isidentifier() for k in kinds):
            return bool(kinds & facts.classes[what])
        value = evaluate(arguments[0], facts)
        if type(value) is int and kind == "int":
            return True
        if value is None or (value is PRESENT and kinds <= {"list", "tuple", "str", "dict"}):
            return False
    if name in ("hasattr", "getattr") and len(arguments) >= 2 and isinstance(arguments[1], cst.SimpleString):
        owner, attribute = dotted(arguments[0]), arguments[1].evaluated_value
        if name == "hasattr" and owner is not None and owner in facts.configs:
            return attribute in facts.configs[owner]
        known = facts.values.get(f"{owner}.{attribute!s}", UNKNOWN)
        if known is PRESENT:
            return True if name == "hasattr" else PRESENT
        if known is None:
            return True if name == "hasattr" else None
    return UNKNOWN


def _kinds(node: cst.BaseExpression) -> set[str]:
    """Names in the second argument of ``isinstance``."""
    if isinstance(node, cst.Tuple):
        return {dotted(e.value) or "" for e in node.elements}
    return {dotted(node) or ""}
