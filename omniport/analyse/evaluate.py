"""Facts of expressions: what each evaluates to, given the facts about the names, attributes and modules it reads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.binding import Env, bind
from omniport.analyse.known_calls import known_call
from omniport.analyse.values import (
    NONE,
    PRESENT,
    UNKNOWN,
    Choices,
    Const,
    Instances,
    Mapping,
    ModuleList,
    OneOf,
    Present,
    Reference,
    Sequence,
    Unknown,
    Value,
    join,
    one_of,
    present,
    truth,
)
from omniport.analyse.variants import Notes, Variant
from omniport.source.syntax import constant, dotted
from omniport.source.walk import children

#: Builds the variant for a constructor call: class, facts by parameter, the variant that calls.
Construct = Callable[[Reference, "list[tuple[str | None, Value]]", Variant], Value]
Resolve = Callable[[Variant, str], "Value | None"]
#: Joins the facts of a forward call; None where the call cannot be meant for that variant, being one of several.
CallForward = Callable[[str, "list[tuple[str | None, Value]]", bool], "Value | None"]


_MUTATORS = frozenset({"append", "extend", "insert", "update", "setdefault", "remove", "clear"})

#: Expressions that may be literals.
_LITERALS = frozenset(
    {cst.Name, cst.Integer, cst.Float, cst.SimpleString, cst.ConcatenatedString, cst.UnaryOperation}
    | {cst.Tuple, cst.List, cst.Dict}
)
#: Expressions of which the value is noted, and those of which it is noted whether they hold.
_NOTED = frozenset({cst.Name, cst.Attribute, cst.Call})
_CONDITIONS = frozenset({cst.BooleanOperation, cst.Comparison, cst.UnaryOperation})


class Evaluator:
    """Evaluates the expressions of one variant; collaborators decide construction, names and calls of other modules."""

    def __init__(
        self,
        variant: Variant,
        notes: Notes,
        *,
        construct: Construct,
        resolve: Resolve,
        forward: CallForward,
        old_calls: bool,
    ) -> None:
        self.variant, self.notes = variant, notes
        self.construct, self.resolve, self.call_forward = construct, resolve, forward
        # Whether callers may call in a deprecated way: those of diffusers do not, but a published config may be old.
        self.old_calls = old_calls
        self.returned: list[Value] = []
        self.depth = 0

    def function(self, node: cst.FunctionDef, env: Env) -> Value:
        """What a call of one of the variant's own methods returns."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ expressions
    def value(self, node: cst.BaseExpression, env: Env) -> Value:
        """The facts of an expression; names and attributes that are constant are noted."""
        value = self.evaluate(node, env)
        if type(node) in _NOTED:
            self.notes.note(self.notes.values, node, value)
        elif type(node) in _CONDITIONS:
            self.notes.note(self.notes.truths, node, truth(value))
        return value

    def evaluate(self, node: cst.BaseExpression, env: Env) -> Value:
        literal = constant(node) if type(node) in _LITERALS else ...
        if literal is not ...:
            return Const(literal)
        rule = _RULES.get(type(node))
        if rule is not None:
            return rule(self, node, env)
        for child in children(node):
            if cst.BaseExpression in type(child).__mro__:
                self.value(child, env)  # type: ignore[arg-type]
        return PRESENT

    def boolean(self, node: cst.BooleanOperation, env: Env) -> Value:
        left = self.value(node.left, env)
        decided = truth(left)
        if isinstance(node.operator, cst.And):
            right = self.value(node.right, self.refined(node.left, env, True)) if decided is not False else left
            if decided is None and truth(right) is False:
                return Const(False)  # as a condition; the exact falsy operand is never used by these sources
        else:
            right = self.value(node.right, env) if decided is not True else left
        return right if decided is not None else join(left, right)

    def unary(self, node: cst.UnaryOperation, env: Env) -> Value:
        value = self.value(node.expression, env)
        if isinstance(node.operator, cst.Not):
            decided = truth(value)
            return PRESENT if decided is None else Const(not decided)
        return PRESENT

    def conditional(self, node: cst.IfExp, env: Env) -> Value:
        decided = truth(self.value(node.test, env))
        self.notes.note(self.notes.truths, node.test, decided)
        if decided is not None:
            return self.value(node.body if decided else node.orelse, env)
        yes = self.value(node.body, self.refined(node.test, env, True))
        return join(yes, self.value(node.orelse, self.refined(node.test, env, False)))

    def sequence(self, node: cst.Tuple | cst.List, env: Env) -> Value:
        items = [self.value(element.value, env) for element in node.elements]
        starred = any(type(element) is cst.StarredElement for element in node.elements)
        return PRESENT if starred else Sequence(tuple(items))

    def comprehension(self, node: cst.ListComp | cst.GeneratorExp, env: Env) -> Value:
        inner = dict(env)
        self.assign(node.for_in.target, self.element(self.value(node.for_in.iter, env)), inner)
        return ModuleList((self.value(node.elt, inner),), repeated=True)

    def loaded(self, node: cst.Name, env: Env) -> Value:
        return self.name(node.value, env)

    def name(self, name: str, env: Env) -> Value:
        if name in env:
            return env[name]
        if name in knowledge.DECIDED_NAMES:
            return Const(knowledge.DECIDED_NAMES[name][0])
        found = self.resolve(self.variant, name)
        return UNKNOWN if found is None else found

    def attribute(self, node: cst.Attribute, env: Env) -> Value:
        name = node.attr.value
        if dotted(node.value) == "self":
            if name in knowledge.DECIDED_ATTRIBUTES:
                return Const(knowledge.DECIDED_ATTRIBUTES[name][0])
            for table in (self.variant.attributes, self.variant.constants):
                if name in table:
                    return table[name]
            return UNKNOWN
        if dotted(node.value) == "self.config":
            return self.variant.arguments.get(name, UNKNOWN)
        base = self.value(node.value, env)
        return PRESENT if isinstance(base, Present | Instances) or name in ("shape", "dtype", "device") else UNKNOWN

    def mapping(self, node: cst.Dict, env: Env) -> Value:
        items: dict[str, Value] = {}
        known = True
        for element in node.elements:
            value = self.value(element.value, env)
            if isinstance(element, cst.DictElement):
                key = constant(element.key)
                known &= isinstance(key, str)
                items[str(key)] = value
            elif isinstance(value, Mapping):
                items.update(value.items)
            else:
                known &= value == Const({})
        return Mapping(tuple(items.items())) if known else PRESENT

    def subscript(self, node: cst.Subscript, env: Env) -> Value:
        base = self.value(node.value, env)
        index: object = ...
        if len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Index):
            inner = self.value(node.slice[0].slice.value, env)
            index = inner.value if isinstance(inner, Const) else ...
        items = base.items if isinstance(base, Sequence | ModuleList) else ()
        if isinstance(index, int) and isinstance(base, ModuleList) and base.repeated:
            return items[0]
        if isinstance(index, int) and -len(items) <= index < len(items):
            return items[index]
        return PRESENT if isinstance(base, Present) and not isinstance(index, str) else UNKNOWN

    def comparison(self, node: cst.Comparison, env: Env) -> Value:
        left = self.value(node.left, env)
        if len(node.comparisons) != 1:
            return PRESENT
        operator, right = node.comparisons[0].operator, self.value(node.comparisons[0].comparator, env)
        if isinstance(operator, cst.Equal) and right == Const(0) and _above_zero(node.left) in env:
            return Const(False)
        if isinstance(operator, cst.Is | cst.IsNot) and right == NONE:
            if left == NONE or present(left):
                return Const((left == NONE) == isinstance(operator, cst.Is))
        elif isinstance(left, Const) and isinstance(right, Const):
            a, b = left.value, right.value
            if isinstance(operator, cst.Equal | cst.NotEqual):
                return Const((a == b) == isinstance(operator, cst.Equal))
            if isinstance(a, int | float) and isinstance(b, int | float):
                table = {cst.LessThan: a < b, cst.GreaterThan: a > b}
                table |= {cst.LessThanEqual: a <= b, cst.GreaterThanEqual: a >= b}
                if type(operator) in table:
                    return Const(table[type(operator)])
        if isinstance(left, OneOf) and isinstance(right, Const) and isinstance(operator, cst.Equal | cst.NotEqual):
            return PRESENT if right.value in left.values else Const(isinstance(operator, cst.NotEqual))
        if isinstance(operator, cst.In | cst.NotIn) and isinstance(right, Const) and right.value in ((), [], {}):
            return Const(isinstance(operator, cst.NotIn))  # nothing is in an empty container
        if isinstance(operator, cst.In | cst.NotIn) and isinstance(left, Const):
            members = None
            if isinstance(right, Sequence) and all(isinstance(i, Const) for i in right.items):
                members = [i.value for i in right.items if isinstance(i, Const)]
            elif isinstance(right, Const) and isinstance(right.value, dict):
                members = []
            if members is not None:
                return Const((left.value in members) == isinstance(operator, cst.In))
        return PRESENT

    # ------------------------------------------------------------------------------------------------------ calls
    def arguments(self, node: cst.Call, env: Env) -> list[tuple[str | None, Value]]:
        """The facts of a call's arguments; ``*``/``**`` of something that is not known to be empty give ``"*"``."""
        found: list[tuple[str | None, Value]] = []
        for arg in node.args:
            value = self.value(arg.value, env)
            if arg.star == "**" and isinstance(value, Mapping):
                found.extend(value.items)
            elif arg.star:
                if truth(value) is not False:
                    found.append(("*", value))
            else:
                found.append((arg.keyword.value if arg.keyword else None, value))
        return found

    def call(self, node: cst.Call, env: Env) -> Value:
        name = dotted(node.func) or ""
        arguments = self.arguments(node, env)
        values = [value for _, value in arguments]
        known = known_call(self.variant, self.element, name, node, values)
        if known is not None:
            return known
        if isinstance(node.func, cst.Attribute):
            method = self.method(node.func, arguments, env)
            if method is not None:
                return method
        target = self.value(node.func, env)
        if isinstance(target, Reference):
            built = self.construct(target, arguments, self.variant)
            self.notes.note(self.notes.targets, node, built)
            return built
        if isinstance(target, Choices):
            made = [self.construct(each, arguments, self.variant) for each in sorted(target.items, key=str)]
            return functools.reduce(join, made)
        if isinstance(target, Instances):
            results = [self.call_forward(key, arguments, len(target.variants) > 1) for key in sorted(target.variants)]
            return functools.reduce(join, [r for r in results if r is not None] or [UNKNOWN])
        return PRESENT if name.split(".")[0] in ("torch", "F", "nn", "np", "math", "int", "float", "str") else UNKNOWN

    def method(self, func: cst.Attribute, arguments: list[tuple[str | None, Value]], env: Env) -> Value | None:
        """A call ``owner.method(...)`` whose owner decides the outcome; None to go on."""
        attr, owner = func.attr.value, dotted(func.value)
        if owner == "self" and attr in self.variant.methods and attr not in self.variant.attributes:
            bound = bind(self.variant.methods[attr], arguments)
            return UNKNOWN if bound is None else self.function(self.variant.methods[attr], bound)
        if attr == "append" and owner and owner.startswith("self.") and owner.count(".") == 1 and arguments:
            old = self.variant.attributes.get(func.value.attr.value) if isinstance(func.value, cst.Attribute) else None
            if isinstance(old, ModuleList) and isinstance(func.value, cst.Attribute):
                items = (*old.items, arguments[0][1])
                self.variant.attributes[func.value.attr.value] = ModuleList(items, repeated=False)
            return NONE
        known = env.get(func.value.value) if isinstance(func.value, cst.Name) and attr in _MUTATORS else None
        if isinstance(known, Const | Sequence | Mapping):  # its contents are no longer known
            env[owner or ""] = PRESENT
            return UNKNOWN
        if attr in ("get", "pop"):
            base = self.value(func.value, env)
            default = arguments[1][1] if len(arguments) > 1 else NONE
            key = arguments[0][1] if arguments else UNKNOWN
            if isinstance(base, Mapping) and isinstance(key, Const):
                return dict(base.items).get(key.value, default)
            return default if base == Const({}) else UNKNOWN
        if owner and owner.split(".")[0] in ("torch", "F", "nn", "np", "math"):
            return None
        base = self.value(func.value, env)
        return PRESENT if isinstance(base, Present | Unknown) and owner != "self" else None

    def element(self, value: Value) -> Value:
        """What iterating over ``value`` gives."""
        items = value.items if isinstance(value, Sequence | ModuleList) else ()
        return functools.reduce(join, items) if items else UNKNOWN

    # ---------------------------------------------------------------------------------------------- environments
    def refined(self, test: cst.BaseExpression, env: Env, holds: bool) -> Env:
        """``env`` where ``test`` is known to be ``holds``: what ``x is None`` says of ``x``."""
        env = dict(env)
        if isinstance(test, cst.BooleanOperation) and isinstance(test.operator, cst.And) and holds:
            return self.refined(test.right, self.refined(test.left, env, True), True)
        if isinstance(test, cst.Comparison) and len(test.comparisons) == 1 and isinstance(test.left, cst.Name):
            target = test.comparisons[0]
            if isinstance(target.operator, cst.GreaterThan) and constant(target.comparator) == 0 and holds:
                env[_above_zero(test.left)] = PRESENT
            if dotted(target.comparator) == "None":
                is_none = isinstance(target.operator, cst.Is) == holds
                if isinstance(target.operator, cst.Is | cst.IsNot) and test.left.value in env:
                    left = env[test.left.value]
                    other = one_of(left.values - {None}) if isinstance(left, OneOf) else PRESENT
                    env[test.left.value] = NONE if is_none else other
            elif isinstance(target.operator, cst.Equal if holds else cst.NotEqual) and test.left.value in env:
                literal = constant(target.comparator)
                if isinstance(literal, str | int | bool):  # after `if kind != "x": raise`, kind is "x"
                    env[test.left.value] = Const(literal)
            elif isinstance(target.operator, cst.NotEqual if holds else cst.Equal):
                chosen, literal = env.get(test.left.value), constant(target.comparator)
                if isinstance(chosen, OneOf) and chosen.values != {literal}:
                    env[test.left.value] = one_of(chosen.values - {literal})
        return env

    def assign(self, target: cst.BaseExpression, value: Value, env: Env) -> None:
        if isinstance(target, cst.Name):
            env[target.value] = value
            env.pop(_above_zero(target), None)
        elif isinstance(target, cst.Tuple | cst.List):
            known = isinstance(value, Sequence) and len(value.items) == len(target.elements)
            for index, element in enumerate(target.elements):
                item = value.items[index] if known and isinstance(value, Sequence) else UNKNOWN
                self.assign(element.value, item, env)
        elif isinstance(target, cst.Attribute) and dotted(target.value) == "self":
            self.variant.attributes[target.attr.value] = value
        elif isinstance(target, cst.Subscript) and isinstance(target.value, cst.Name):
            owner = env.get(target.value.value)
            if isinstance(owner, Mapping) or owner == Const({}):
                env[target.value.value] = self.with_item(owner, target, value)

    @staticmethod
    def with_item(owner: Value, target: cst.Subscript, value: Value) -> Value:
        """A known dict after ``owner[key] = value``."""
        index = target.slice[0].slice
        key = constant(index.value) if isinstance(index, cst.Index) else ...
        if not isinstance(key, str):
            return PRESENT
        items = dict(owner.items) if isinstance(owner, Mapping) else {}
        return Mapping(tuple({**items, key: value}.items()))


def _above_zero(node: cst.BaseExpression) -> str:
    """Stands in an environment where the number ``node`` is known to be above zero."""
    return f"{dotted(node)} > 0"


#: How expressions are evaluated; those of other kinds only have their parts looked at.
_RULES: dict[type[cst.CSTNode], Callable[[Evaluator, Any, Env], Value]] = {
    cst.Attribute: Evaluator.attribute,
    cst.BooleanOperation: Evaluator.boolean,
    cst.Call: Evaluator.call,
    cst.Comparison: Evaluator.comparison,
    cst.Dict: Evaluator.mapping,
    cst.GeneratorExp: Evaluator.comprehension,
    cst.IfExp: Evaluator.conditional,
    cst.List: Evaluator.sequence,
    cst.ListComp: Evaluator.comprehension,
    cst.Name: Evaluator.loaded,
    cst.Subscript: Evaluator.subscript,
    cst.Tuple: Evaluator.sequence,
    cst.UnaryOperation: Evaluator.unary,
}
