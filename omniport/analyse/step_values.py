"""Which conditions of a pipeline's loop are the same in all of its steps, and what that takes of the request.

The statements before the loop and those of one step are followed in order.  Of a value is known whether it may differ
from step to step, which it is if it is one literal, and its bounds if it is a share of the schedule: a time taken from
the number that schedules start at is none below zero (``1000 - t``), and a step's number over that of all steps is one
at most.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import libcst as cst

from omniport.analyse.step_slice import Slice, changed
from omniport.plan.model import Scalar
from omniport.rewrite.pipeline.blocks import Block, bound, head_bound, inner_blocks, reads, small_bound, suite
from omniport.rewrite.pipeline.schedule import AROUND, MAKERS
from omniport.rewrite.pipeline.walk import target_names
from omniport.source.syntax import constant, dotted

Span = tuple[float, float]

#: Methods, and functions of one argument, that keep what is known of a number or of the elements of a tensor.
_KEEPING = frozenset({"float", "double", "item", "tolist", "cpu", "to", "expand", "flatten", "view", "repeat"})
#: What diffusers' schedules start at, in steps of training or as a share.
_STARTS = (1000, 1)
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    cst.Add: operator.add,
    cst.Subtract: operator.sub,
    cst.Multiply: operator.mul,
    cst.Divide: operator.truediv,
}
_COMPARED: dict[type, Callable[[Any, Any], bool]] = {
    cst.LessThan: operator.lt,
    cst.LessThanEqual: operator.le,
    cst.GreaterThan: operator.gt,
    cst.GreaterThanEqual: operator.ge,
    cst.Equal: operator.eq,
    cst.NotEqual: operator.ne,
    cst.Is: operator.is_,
    cst.IsNot: operator.is_not,
}
_LEAVING = frozenset({cst.Return, cst.Raise, cst.Continue, cst.Break})
_ORDERS = (cst.LessThan, cst.LessThanEqual, cst.GreaterThan, cst.GreaterThanEqual)


class Value(NamedTuple):
    """What is known of a value in the steps of the loop.

    ``known`` holds the one value that it has, if that is certain; ``span`` bounds it or its elements.  ``part`` says
    which of the loop's own it is; of a step's number, ``shift`` is what was added.  ``by``: arguments whose defaults
    all of this rests on.
    """

    varies: bool = False
    known: tuple[Any, ...] = ()
    span: Span | None = None
    part: str = ""  # "times" of the schedule, one or all; "step": its number; "steps": how many
    shift: int = 0
    by: frozenset[str] = frozenset()


Known = dict[str, Value]


class StepValues:
    """The conditions (``cst.If``) of a pipeline's call, of which :meth:`test` tells what is known in a step."""

    def __init__(
        self, entry: cst.FunctionDef, loop: cst.For | cst.While, part: Slice, defaults: Mapping[str, Scalar]
    ) -> None:
        """Follow the statements of ``part``.

        ``defaults``: arguments that are taken to be at these values, until they are bound anew.
        """
        self._part = part
        self._loop, self._within = loop, False
        self._times = _iterated(loop) if isinstance(loop, cst.For) else ""
        self._chosen: list[frozenset[str]] = []
        self._tests: dict[int, Value] = {}
        self._unbound: Known = {}
        names = {n: Value(known=(v,), by=frozenset({n})) for n, v in defaults.items()}
        if defaults:
            self._run(suite(entry.body), names)
        else:  # what stands before the loop binds nothing that a step changes
            self._steps(names)

    def test(self, node: cst.If) -> Value:
        """What is known of a condition; that it varies where it was not reached."""
        return self._tests.get(id(node), Value(True))

    # --------------------------------------------------------------------------------------------------- statements
    def _run(self, block: Block, names: Known) -> bool:
        """Follow ``block``; whether it always leaves the call or the step."""
        for node in block:
            kept = id(node) in self._part.kept
            if isinstance(node, cst.SimpleStatementLine):
                for small in node.body:
                    if kept:
                        self._line(small, names)
                    if type(small) in _LEAVING:
                        return True
            elif not kept:
                continue
            elif isinstance(node, cst.If):
                if self._branch(node, names):
                    return True
            elif isinstance(node, cst.With):
                self._bind(head_bound(node), Value(self._within), names)
                if self._run(suite(node.body), names):
                    return True
            elif node is self._loop:
                self._steps(names)
            else:
                self._other(node, names)
        return False

    def _other(self, node: cst.BaseCompoundStatement, names: Known) -> None:
        """A statement that is not followed: what it binds may differ from step to step if it stands in one."""
        inside = [suite(part) for part in inner_blocks(node)]
        self._bind(head_bound(node) | set().union(*map(bound, inside)), None, names)
        for block in inside:
            if any(n is self._loop for n in block):
                self._steps(names)

    def _steps(self, names: Known) -> None:
        self._bind(self._part.carried, Value(True), names)
        if isinstance(self._loop, cst.For):
            self._bind(target_names(self._loop.target), Value(True), names)
            for name, part in _own(self._loop):
                names[name] = Value(True, part=part)
        self._within = True
        self._run(suite(self._loop.body), names)
        self._within = False

    def _bind(self, bound_names: AbstractSet[str], value: Value | None, names: Known) -> None:
        for name in bound_names:
            names[name] = self._marked(value or Value(self._within))

    def _marked(self, value: Value) -> Value:
        """``value``, which rests on the conditions that chose the branch, too."""
        by = value.by.union(*self._chosen)
        return value if by == value.by else value._replace(by=by)

    def _line(self, small: cst.BaseSmallStatement, names: Known) -> None:
        for name in changed(small):  # what of it is changed is not known
            old = self._named(name, names)
            names[name] = self._marked(
                Value(old.varies or self._varies(small, names), by=old.by | self._by(small, names))
            )
        if isinstance(small, cst.Assign | cst.AnnAssign) and small.value is not None:
            value = self._marked(self._of(small.value, names))
            targets = [t.target for t in small.targets] if isinstance(small, cst.Assign) else [small.target]
            for target in targets:
                self._assign(target, small.value, value, names)
            return
        varies = self._varies(small, names)
        if isinstance(small, cst.AugAssign):
            varies |= self._varies(small.target, names)
        self._bind(small_bound(small), Value(varies), names)

    def _assign(self, target: cst.BaseExpression, source: cst.BaseExpression, value: Value, names: Known) -> None:
        if isinstance(target, cst.Name):
            names[target.value] = value._replace(part="times") if target.value == self._times else value
            return
        made = isinstance(source, cst.Call) and dotted(source.func) in MAKERS
        elements = [e.value for e in target.elements] if isinstance(target, cst.Tuple) else []
        self._bind(target_names(target), Value(value.varies, by=value.by), names)
        if made and len(elements) == 2 and dotted(elements[0]) == self._times:
            names[self._times] = self._marked(Value(part="times"))
            if isinstance(elements[1], cst.Name):
                names[elements[1].value] = self._marked(Value(part="steps"))

    def _branch(self, node: cst.If, names: Known) -> bool:
        test = self._truth(node.test, names)
        self._tests[id(node)] = test
        other: Block = []
        if isinstance(node.orelse, cst.If):
            other = [node.orelse]
        elif node.orelse is not None:
            other = suite(node.orelse.body)
        if test.known:
            self._chosen.append(test.by)
            taken, left_out = (suite(node.body), other) if test.known[0] else (other, suite(node.body))
            ends = self._run(taken, names)
            for name in bound(left_out):  # keeps what it was because of the condition
                names[name] = self._marked(self._named(name, names))
            self._chosen.pop()
            return ends
        yes, no = dict(names), dict(names)
        block = suite(node.body)
        ways = [way for part, way in ((block, yes), (other, no)) if not self._run(part, way)]
        if len(ways) == 1:
            names.update(ways[0])
        elif ways:
            changed = [name for name in {**yes, **no} if yes.get(name) is not no.get(name)]
            names.update(yes)
            for name in changed:
                names[name] = _joined(self._named(name, yes), self._named(name, no), test)
        return not ways

    # -------------------------------------------------------------------------------------------------- expressions
    def _varies(self, node: cst.CSTNode, names: Known) -> bool:
        return any(names[name].varies for name in reads(node) if name in names)

    def _truth(self, node: cst.BaseExpression, names: Known) -> Value:
        """What is known of a condition, as true or false."""
        if isinstance(node, cst.BooleanOperation):
            left, right = self._truth(node.left, names), self._truth(node.right, names)
            decisive = isinstance(node.operator, cst.Or)
            for side in (left, right):
                if side.known == (decisive,):
                    return side
            open_sides = [side for side in (left, right) if not side.known]
            known = () if open_sides else (not decisive,)
            return Value(any(side.varies for side in open_sides), known, by=left.by | right.by)
        if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
            value = self._truth(node.expression, names)
            return value._replace(known=tuple(not v for v in value.known))
        value = self._of(node, names)
        return Value(value.varies, tuple(bool(v) for v in value.known), by=value.by)

    def _of(self, node: cst.BaseExpression, names: Known) -> Value:
        if (literal := constant(node)) is not ... and not isinstance(literal, tuple | list | dict):
            return Value(known=(literal,))
        if self._times and dotted(node) == self._times and not isinstance(node, cst.Name):
            return Value(part="times")
        method = self._FORMS.get(type(node))
        if method is not None:
            return method(self, node, names)
        return Value(self._varies(node, names), by=self._by(node, names))

    def _by(self, node: cst.CSTNode, names: Known) -> frozenset[str]:
        return frozenset().union(*(names[name].by for name in reads(node) if name in names))

    def _name(self, node: cst.Name, names: Known) -> Value:
        return self._named(node.value, names)

    def _named(self, name: str, names: Known) -> Value:
        """What is known of a name; one that was bound nowhere so far has the same value wherever it is read."""
        return names.get(name) or self._unbound.setdefault(name, Value())

    def _call(self, node: cst.Call, names: Known) -> Value:
        plain = Value(self._varies(node, names), by=self._by(node, names))
        if isinstance(node.func, cst.Attribute) and node.func.attr.value in _KEEPING:
            value = self._of(node.func.value, names)
            return plain._replace(span=value.span, part=value.part if value.part == "times" else "")
        if len(node.args) == 1 and dotted(node.func) == "float":
            value = self._of(node.args[0].value, names)
            numbers = all(type(v) in (int, float) for v in value.known)
            return value._replace(known=tuple(float(v) for v in value.known) if numbers else ())
        if len(node.args) == 1 and dotted(node.func) == "len" and self._of(node.args[0].value, names).part == "times":
            return plain._replace(part="steps")
        return plain

    def _element(self, node: cst.Subscript, names: Known) -> Value:
        value = self._of(node.value, names)
        part = value.part if value.part == "times" else ""
        return Value(self._varies(node, names), (), value.span, part, by=self._by(node, names))

    def _choice(self, node: cst.IfExp, names: Known) -> Value:
        test = self._truth(node.test, names)
        if test.known:
            value = self._of(node.body if test.known[0] else node.orelse, names)
            return value._replace(by=value.by | test.by)
        return _joined(self._of(node.body, names), self._of(node.orelse, names), test)

    def _logic(self, node: cst.BooleanOperation, names: Known) -> Value:
        left, right = self._of(node.left, names), self._of(node.right, names)
        if left.known:
            value = left if bool(left.known[0]) == isinstance(node.operator, cst.Or) else right
            return value._replace(by=left.by | value.by)
        return Value(left.varies or right.varies, by=left.by | right.by)

    def _unary(self, node: cst.UnaryOperation, names: Known) -> Value:
        if isinstance(node.operator, cst.Not):
            return self._truth(node, names)
        value = self._of(node.expression, names)
        return Value(value.varies, by=value.by)

    def _computed(self, node: cst.BinaryOperation, names: Known) -> Value:
        left, right = self._of(node.left, names), self._of(node.right, names)
        plain = Value(left.varies or right.varies, by=left.by | right.by)
        kind, compute = type(node.operator), _ARITHMETIC.get(type(node.operator))
        if compute is None:
            return plain
        numbers = [v.known[0] if v.known and type(v.known[0]) in (int, float) else None for v in (left, right)]
        if None not in numbers:
            zero = kind is cst.Divide and not numbers[1]
            return plain if zero else plain._replace(known=(compute(*numbers),))
        if kind is cst.Subtract and right.part == "times" and numbers[0] in _STARTS:
            return plain._replace(span=(0.0, float(numbers[0])))
        if left.part == "step" and kind is cst.Add and type(numbers[1]) is int:
            return plain._replace(part="step", shift=left.shift + numbers[1])
        if left.part == "step" and kind is cst.Divide and right.part == "steps" and left.shift in (0, 1):
            return plain._replace(span=(0.0, 1.0))
        if left.span is not None and numbers[1]:
            low, high = sorted(compute(end, numbers[1]) for end in left.span)
            return plain._replace(span=(low, high))
        return plain

    def _comparison(self, node: cst.Comparison, names: Known) -> Value:
        left = self._of(node.left, names)
        varies, known, by = False, True, left.by
        for pair in node.comparisons:
            right = self._of(pair.comparator, names)
            by |= right.by
            found = _compared(type(pair.operator), left, right)
            if found is False:
                return Value(known=(False,), by=left.by | right.by)
            known &= found is True
            varies |= found is None and (left.varies or right.varies)
            left = right
        return Value(varies, (True,) if known else (), by=by)

    _FORMS: dict[type, Callable[[StepValues, Any, Known], Value]] = {
        cst.Name: _name,
        cst.Call: _call,
        cst.Subscript: _element,
        cst.IfExp: _choice,
        cst.BooleanOperation: _logic,
        cst.UnaryOperation: _unary,
        cst.BinaryOperation: _computed,
        cst.Comparison: _comparison,
    }


def _compared(kind: type, left: Value, right: Value) -> bool | None:
    """Whether a comparison holds in all steps (True) or in none (False); None if that is not known."""
    compare = _COMPARED.get(kind)
    if compare is None:
        return None
    if left.known and right.known:
        try:
            return bool(compare(left.known[0], right.known[0]))
        except TypeError:
            return None
    spans = [_span(value) for value in (left, right)]
    if kind not in _ORDERS or spans[0] is None or spans[1] is None:
        return None
    found = {bool(compare(a, b)) for a in spans[0] for b in spans[1]}
    return found.pop() if len(found) == 1 else None


def _span(value: Value) -> Span | None:
    if value.known and type(value.known[0]) in (int, float):
        return value.known[0], value.known[0]
    return value.span


def _joined(one: Value, other: Value, test: Value) -> Value:
    if one is other or (one.known and one.known == other.known and type(one.known[0]) is type(other.known[0])):
        return one._replace(by=one.by | other.by)
    spans = [_span(v) for v in (one, other) if v.known != (None,)]  # what compares a number with None fails
    span = None if None in spans or not spans else (min(s[0] for s in spans if s), max(s[1] for s in spans if s))
    by = one.by | other.by | test.by
    return Value(one.varies or other.varies or test.varies, span=span, by=by)


def _around(loop: cst.For) -> tuple[cst.BaseExpression, int]:
    """What a loop runs over, without what is around it, and how often it is counted; -1 if not from zero."""
    over: cst.BaseExpression = loop.iter
    counted = 0
    while isinstance(over, cst.Call) and (name := dotted(over.func)) in AROUND and over.args:
        if name == "enumerate":
            counted = counted + 1 if len(over.args) == 1 and counted >= 0 else -1
        over = over.args[0].value
    return over, counted


def _iterated(loop: cst.For) -> str:
    """The dotted name of what a loop runs over, bare or counted; "" if it has none."""
    return dotted(_around(loop)[0]) or ""


def _own(loop: cst.For) -> Sequence[tuple[str, str]]:
    """The names that a loop over the times gives a step's number and its time, with what they are."""
    over, counted = _around(loop)
    if not dotted(over):
        return ()
    if isinstance(loop.target, cst.Name):
        return ((loop.target.value, "times"),) if not counted else ()
    found = [dotted(e.value) or "" for e in loop.target.elements] if isinstance(loop.target, cst.Tuple) else []
    return tuple(zip(found, ("step", "times"), strict=True)) if counted == 1 and len(found) == 2 and all(found) else ()
