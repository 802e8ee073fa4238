"""What may be known of a name: None, a string or a list, and how long the list is; and what follows from it."""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from omniport.source.syntax import dotted

Kinds = frozenset[str]
#: Name -> what it may hold: "None", "str", "list"; a name that is not here may hold anything.  ``len(x)`` has the name
#: that holds the length of list ``x``.
Known = dict[str, Kinds]

_NONE, _STR, _LIST = frozenset({"None"}), frozenset({"str"}), frozenset({"list"})
#: Classes of which no string and no list is.
_OTHERS = frozenset({"tuple", "dict", "int", "float", "bool", "set", "torch.Tensor", "np.ndarray", "PIL.Image.Image"})


def joined(one: Known, other: Known) -> Known:
    """What holds behind two ways."""
    both = {n: k | other[n] for n, k in one.items() if n in other}
    return {n: k for n, k in both.items() if not n.startswith("len(") or len(k) == 1}


def without(known: Known, names: Collection[str]) -> Known:
    """What is known still once ``names`` are bound anew."""
    gone = {*names, *(f"len({n})" for n in names)}
    return {n: k for n, k in known.items() if n not in gone and not (n.startswith("len(") and k & gone)}


def kinds_of(node: cst.BaseExpression, known: Known) -> Kinds | None:
    """What an expression may give; None if that is not known."""
    if isinstance(node, cst.Name):
        return _NONE if node.value == "None" else known.get(node.value)
    if isinstance(node, cst.SimpleString | cst.FormattedString | cst.ConcatenatedString):
        return _STR
    if isinstance(node, cst.List | cst.ListComp):
        return _LIST
    if isinstance(node, cst.IfExp):
        yes, no = narrowed(node.test, known, True), narrowed(node.test, known, False)
        return _either(*(kinds_of(n, k) for n, k in ((node.body, yes), (node.orelse, no)) if k is not None))
    if isinstance(node, cst.BooleanOperation) and isinstance(node.operator, cst.Or):
        left, right = kinds_of(node.left, known), kinds_of(node.right, known)
        return None if left is None or right is None else (left - _NONE) | right
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        return _LIST if _LIST in (kinds_of(node.left, known), kinds_of(node.right, known)) else None
    return None


def _either(*kinds: Kinds | None) -> Kinds | None:
    found = [k for k in kinds if k is not None]
    return frozenset().union(*found) if len(found) == len(kinds) else None


def times(node: cst.BaseExpression, known: Known) -> str | None:
    """The name ``n`` of ``n * [x]`` and ``[x] * n``, which is a list of that length."""
    if isinstance(node, cst.IfExp):
        yes, no = narrowed(node.test, known, True), narrowed(node.test, known, False)
        if yes is None or no is None:
            return times(node.orelse if yes is None else node.body, known)
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Multiply):
        return None
    for one, count in ((node.left, node.right), (node.right, node.left)):
        single = isinstance(one, cst.List) and len(one.elements) == 1 and isinstance(one.elements[0], cst.Element)
        if single and isinstance(count, cst.Name):
            return count.value
    return None


def truth(node: cst.BaseExpression, known: Known) -> bool | None:
    """The one answer to a question; None if there may be two."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
        found = truth(node.expression, known)
        return None if found is None else not found
    if isinstance(node, cst.BooleanOperation):
        stops = isinstance(node.operator, cst.Or)
        left, behind = truth(node.left, known), narrowed(node.left, known, not stops)
        right = None if behind is None else truth(node.right, behind)
        return stops if stops in (left, right) else None if None in (left, right) else not stops
    if isinstance(node, cst.Call):
        return _is_instance(node, known)
    return _comparison(node, known) if isinstance(node, cst.Comparison) else None


def _is_instance(node: cst.Call, known: Known) -> bool | None:
    if dotted(node.func) != "isinstance" or len(node.args) != 2 or not isinstance(node.args[0].value, cst.Name):
        return None
    kinds, classes = known.get(node.args[0].value.value), _classes(node.args[1].value)
    if kinds is None or not classes <= _OTHERS | _STR | _LIST:
        return None
    return True if kinds <= classes else None if kinds & classes else False


def _classes(node: cst.BaseExpression) -> Kinds:
    if isinstance(node, cst.Tuple):
        return frozenset(dotted(e.value) or "" for e in node.elements)
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitOr):
        return _classes(node.left) | _classes(node.right)
    return frozenset({dotted(node) or ""})


def _comparison(node: cst.Comparison, known: Known) -> bool | None:
    if len(node.comparisons) != 1:
        return None
    sign, left, right = node.comparisons[0].operator, node.left, node.comparisons[0].comparator
    same: bool | None = None
    if isinstance(sign, cst.Is | cst.IsNot) and dotted(right) == "None" and isinstance(left, cst.Name):
        kinds = known.get(left.value)
        same = None if kinds is None else True if kinds == _NONE else None if kinds & _NONE else False
    elif (one := _typed(left, known)) is not None and (other := _typed(right, known)) is not None:
        same = False if not one & other else True if len(one | other) == 1 else None
    elif any(
        n in known.get(length, ()) for n, length in ((dotted(left), _length(right)), (dotted(right), _length(left)))
    ):
        same = True
    if same is None or not isinstance(sign, cst.Is | cst.IsNot | cst.Equal | cst.NotEqual):
        return None
    return same is isinstance(sign, cst.Is | cst.Equal)


def _asked(node: cst.BaseExpression, function: str) -> str | None:
    """The name ``x`` of ``function(x)``."""
    one = isinstance(node, cst.Call) and dotted(node.func) == function and len(node.args) == 1
    return dotted(node.args[0].value) if one else None  # type: ignore[attr-defined]


def _typed(node: cst.BaseExpression, known: Known) -> Kinds | None:
    name = _asked(node, "type")
    return known.get(name) if name is not None else None


def _length(node: cst.BaseExpression) -> str:
    return f"len({_asked(node, 'len')})"


def narrowed(test: cst.BaseExpression, known: Known, way: bool) -> Known | None:
    """What is known where ``test`` is true, or false; None if it never is."""
    if truth(test, known) is (not way):
        return None
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        return narrowed(test.expression, known, not way)
    if isinstance(test, cst.BooleanOperation):
        both = isinstance(test.operator, cst.And)
        first = narrowed(test.left, known, both)
        second = None if first is None else narrowed(test.right, first, way)
        if both is way:
            return second
        stopped = narrowed(test.left, known, way)
        return stopped if second is None else second if stopped is None else joined(stopped, second)
    asked = _answers(test)
    if asked is None or asked[0] not in known:
        return known
    name, kinds, within = asked
    left = known[name] & kinds if within is way else known[name] - kinds
    return {**known, name: left}


def _answers(test: cst.BaseExpression) -> tuple[str, Kinds, bool] | None:
    """Name, kinds, and whether ``test`` is true for them and no others (for a name itself: false for None at least)."""
    if (
        isinstance(test, cst.Call)
        and truth(test, {}) is None
        and dotted(test.func) == "isinstance"
        and len(test.args) == 2
    ):
        name, classes = dotted(test.args[0].value), _classes(test.args[1].value)
        return (name, classes, True) if name and classes <= _OTHERS | _STR | _LIST else None
    if isinstance(test, cst.Comparison) and len(test.comparisons) == 1 and isinstance(test.left, cst.Name):
        sign, other = test.comparisons[0].operator, test.comparisons[0].comparator
        if dotted(other) == "None" and isinstance(sign, cst.Is | cst.IsNot):
            return test.left.value, _NONE, isinstance(sign, cst.Is)
    return None
