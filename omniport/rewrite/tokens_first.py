"""Query, key and value stay ``[B, S, H, D]``, as vLLM-Omni's attention layer takes them.

A reference that attends heads first turns its tensors by ``.transpose(1, 2)`` and back; around the layer these come in
pairs.  Names are followed statement by statement: one that was bound to a transposed tensor is bound to the tensor
itself, norms and element-wise steps act on either alike, ``torch.cat``, slices and rotary functions are told the other
axis, and where nothing is known of an operation it is given the transposed tensor again.  A transposition is only moved
where the function has fewer of them afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import libcst as cst

from omniport.analyse import library
from omniport.rewrite.idle import without_idle_lines
from omniport.rewrite.syntax import assignment, code, dotted, expression, method, self_attribute, variables
from omniport.source.syntax import constant
from omniport.source.walk import IS_NODE, meaningful_fields, walk

#: Rotary functions that can be told the axis of the tokens: dotted name -> parameter, its default.
ROTARY: dict[str, tuple[str, int]] = {"diffusers.models.embeddings.apply_rotary_emb": ("sequence_dim", 2)}

_SWAP = {1: 2, 2: 1, -2: -3, -3: -2}  # axes of four dimensions, before and after
_KEEPING = frozenset({"to", "float", "double", "half", "bfloat16", "type_as", "contiguous", "clone", "detach"})
_PROPERTIES = frozenset({"dtype", "device", "ndim", "is_cuda"})
_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
_ALL = cst.SubscriptElement(cst.Slice(lower=None, upper=None))


class _UnknownError(Exception):
    """The function uses a transposed tensor in a way that is not followed."""


def tokens_first(
    function: cst.FunctionDef, layers: Collection[str], norms: Collection[str], imported: Mapping[str, str]
) -> cst.FunctionDef:
    """``function`` with the transpositions around its attention merged; the same object if none can go.

    Args:
        layers: attributes that hold attention layers; a function that calls none of them is left as it is.
        norms: attributes that hold norms over the last dimension.
        imported: names of the module and what they stand for, ``{"F": "torch.nn.functional"}``.
    """
    inside = list(walk(function.body))
    moved = [node for node in inside if isinstance(node, cst.Call) and _movable(_transposed(node))]
    called = {self_attribute(node.func) for node in inside if isinstance(node, cst.Call)}
    if not moved or not called & set(layers):
        return function
    bound = {item.name.value for item in inside if isinstance(item, cst.FunctionDef)} | set(variables(function.params))
    imported = {name: meaning for name, meaning in imported.items() if name not in bound}
    best = _attempt(function, moved, norms, imported)
    if best is None or _count(best) >= _count(function):
        return function
    for seed in list(moved) if _count(best) else ():  # a transposition that need not move stays where it is
        fewer = [node for node in moved if node is not seed]
        turned = _attempt(function, fewer, norms, imported)
        if turned is not None and _count(turned) <= _count(best):
            best, moved = turned, fewer
    return without_idle_lines(best)


def norms_of(node: cst.ClassDef) -> set[str]:
    """Attributes that a class only ever binds to norms over the last dimension, or to nothing."""
    found: dict[str, bool] = {}
    init = method(node, "__init__")
    for item in walk(init.body) if init is not None else ():
        pair = assignment(item)
        name = "" if pair is None else self_attribute(pair[0])
        if pair is not None and name:
            found[name] = found.get(name, True) and all(_norm(value) for value in _choices(pair[1]))
    return {name for name, norm in found.items() if norm}


def _choices(value: cst.BaseExpression) -> list[cst.BaseExpression]:
    return [*_choices(value.body), *_choices(value.orelse)] if isinstance(value, cst.IfExp) else [value]


def _norm(value: cst.BaseExpression) -> bool:
    if not isinstance(value, cst.Call):
        return code(value) == "None"
    shape = value.args[0].value if value.args else None
    name = dotted(value.func).rpartition(".")[2]
    return name == "Identity" or (name in library.NORMS and not isinstance(shape, cst.Tuple | cst.List | None))


def _attempt(
    function: cst.FunctionDef, moved: Collection[cst.Call], norms: Collection[str], imported: Mapping[str, str]
) -> cst.FunctionDef | None:
    worker = _Turn(moved, norms, imported)
    try:
        return function.with_changes(body=worker.block(function.body))
    except _UnknownError:
        return None


def _count(node: cst.CSTNode) -> int:
    return sum(isinstance(item, cst.Call) and _transposed(item) is not None for item in walk(node))


def _transposed(node: cst.BaseExpression) -> cst.BaseExpression | None:
    """``x`` of ``x.transpose(1, 2)`` or ``x.permute(0, 2, 1, 3)``."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute) or any(a.keyword for a in node.args):
        return None
    axes = [constant(arg.value) for arg in node.args]
    known = (node.func.attr.value, axes) in (("transpose", [1, 2]), ("transpose", [2, 1]), ("permute", [0, 2, 1, 3]))
    return node.func.value if known else None


def _transpose(node: cst.BaseExpression) -> cst.BaseExpression:
    plain = isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Subscript)
    owner = node if plain or node.lpar else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    axes = [cst.Arg(cst.Integer("1"), comma=_COMMA), cst.Arg(cst.Integer("2"))]
    return cst.Call(cst.Attribute(owner, cst.Name("transpose")), axes)


def _movable(base: cst.BaseExpression | None) -> bool:
    """Whether a tensor that is transposed can have four dimensions."""
    if not isinstance(base, cst.Call) or not isinstance(base.func, cst.Attribute):
        return base is not None
    name = base.func.attr.value
    return name != "flatten" and (name not in ("view", "reshape") or len(base.args) == 4)


class _Turn:
    """One pass over a function; ``turned`` are the names that hold what the reference holds transposed."""

    def __init__(self, moved: Collection[cst.Call], norms: Collection[str], imported: Mapping[str, str]) -> None:
        self.moved, self.norms, self.imported = moved, norms, imported
        self.turned: frozenset[str] = frozenset()
        self.bound: frozenset[str] = frozenset()  # names that have a value by now

    # ------------------------------------------------------------------------------------------------- statements
    def block(self, body: cst.BaseSuite) -> cst.BaseSuite:
        return body.with_changes(body=[self.statement(item) for item in body.body])

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        if isinstance(node, cst.SimpleStatementLine):
            return node.with_changes(body=[self.small(item) for item in node.body])
        if isinstance(node, cst.If):
            return self.branches(node)
        if isinstance(node, cst.For | cst.While | cst.With):
            before = self.turned
            new = self.rebuilt(node)
            if self.turned != before:
                raise _UnknownError
            return new
        if any(isinstance(item, cst.Name) and item.value in self.turned for item in walk(node)):
            raise _UnknownError
        return node

    def branches(self, node: cst.If) -> cst.If:
        test, before = self.plain(node.test), (self.turned, self.bound)
        body = self.block(node.body)
        turned, bound = self.turned, self.bound
        self.turned, self.bound = before
        orelse: cst.CSTNode | None = node.orelse
        if isinstance(orelse, cst.If):
            orelse = self.branches(orelse)
        elif isinstance(orelse, cst.Else):
            orelse = orelse.with_changes(body=self.block(orelse.body))
        last = node.body.body[-1] if node.body.body else None
        ends = isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], cst.Return | cst.Raise)
        if not ends:
            if (turned - self.turned) & self.bound or (self.turned - turned) & bound:
                raise _UnknownError  # on one way only; a name without value on the other is not read after it
            self.turned, self.bound = self.turned | turned, self.bound | bound
        return node.with_changes(test=test, body=body, orelse=orelse)

    def small(self, node: cst.BaseSmallStatement) -> cst.CSTNode:
        if isinstance(node, cst.Assign) and len(node.targets) == 1:
            return self.assign(node)
        if isinstance(node, cst.AugAssign) and isinstance(node.target, cst.Name) and node.target.value in self.turned:
            value, turned = self.value(node.value)
            if not turned and constant(value) is ...:
                raise _UnknownError
            return node.with_changes(value=value)
        return self.rebuilt(node)

    def assign(self, node: cst.Assign) -> cst.Assign:
        target = node.targets[0].target
        if isinstance(target, cst.Tuple) and isinstance(node.value, cst.Tuple):
            pairs = [self.value(element.value) for element in node.value.elements]
            values = [e.with_changes(value=value) for e, (value, _) in zip(node.value.elements, pairs, strict=True)]
            if len(pairs) != len(target.elements):
                raise _UnknownError
            for element, (_, turned) in zip(target.elements, pairs, strict=True):
                self.bind(element.value, turned)
            return node.with_changes(value=node.value.with_changes(elements=values))
        value, turned = self.value(node.value)
        if isinstance(target, cst.Subscript):
            place, wanted = self.value(target)
            value = value if turned == wanted else _transpose(value)
            return node.with_changes(value=value, targets=[node.targets[0].with_changes(target=place)])
        if turned and not isinstance(target, cst.Name):
            value, turned = _transpose(value), False
        for name in [target] if isinstance(target, cst.Name) else [n for n in walk(target) if isinstance(n, cst.Name)]:
            self.bind(name, turned)
        return node.with_changes(value=value)

    def bind(self, target: cst.BaseExpression, turned: bool) -> None:
        if isinstance(target, cst.Name):
            self.turned = self.turned | {target.value} if turned else self.turned - {target.value}
            self.bound = self.bound | {target.value}
        elif turned:
            raise _UnknownError

    # ------------------------------------------------------------------------------------------------ expressions
    def plain(self, node: cst.BaseExpression) -> cst.BaseExpression:
        """``node`` with the value it has in the reference."""
        value, turned = self.value(node)
        return _transpose(value) if turned else value

    def rebuilt(self, node: cst.CSTNode) -> cst.CSTNode:
        """``node`` with every expression in it as in the reference."""
        changes: dict[str, object] = {}
        for name in meaningful_fields(type(node)):
            if (isinstance(node, cst.Attribute) and name == "attr") or (
                isinstance(node, cst.Arg) and name == "keyword"
            ):
                continue
            value = getattr(node, name)
            if IS_NODE[type(value)]:
                new = self.child(value)
                if new is not value:
                    changes[name] = new
            elif type(value) in (list, tuple):
                items = [self.child(item) if IS_NODE[type(item)] else item for item in value]
                if any(a is not b for a, b in zip(items, value, strict=True)):
                    changes[name] = items
        return node.with_changes(**changes) if changes else node

    def child(self, node: cst.CSTNode) -> cst.CSTNode:
        if isinstance(node, cst.BaseStatement):
            return self.statement(node)
        if isinstance(node, cst.BaseSuite):
            return self.block(node)
        return self.plain(node) if isinstance(node, cst.BaseExpression) else self.rebuilt(node)

    def value(self, node: cst.BaseExpression) -> tuple[cst.BaseExpression, bool]:
        """``node``, and whether it is the transposed of what it is in the reference."""
        if isinstance(node, cst.Name):
            return node, node.value in self.turned
        if isinstance(node, cst.Lambda) and any(isinstance(n, cst.Name) and n.value in self.turned for n in walk(node)):
            raise _UnknownError
        if isinstance(node, cst.Attribute) and node.attr.value in _PROPERTIES:
            return node.with_changes(value=self.value(node.value)[0]), False
        if isinstance(node, cst.Subscript):
            return self.subscript(node)
        if isinstance(node, cst.BinaryOperation):
            return self.binary(node)
        if isinstance(node, cst.Call):
            return self.call(node)
        new = self.rebuilt(node)
        assert isinstance(new, cst.BaseExpression)
        return new, False

    def binary(self, node: cst.BinaryOperation) -> tuple[cst.BaseExpression, bool]:
        (left, a), (right, b) = self.value(node.left), self.value(node.right)
        turned = (a or constant(left) is not ...) and (b or constant(right) is not ...) and (a or b)
        if isinstance(node.operator, cst.MatrixMultiply) or not turned:
            left, right, turned = _transpose(left) if a else left, _transpose(right) if b else right, False
        return node.with_changes(left=left, right=right), turned

    def subscript(self, node: cst.Subscript) -> tuple[cst.BaseExpression, bool]:
        shape = node.value
        if isinstance(shape, cst.Attribute) and shape.attr.value == "shape" and len(node.slice) == 1:
            tensor, turned = self.value(shape.value)
            index = node.slice[0].slice
            axis = constant(index.value) if isinstance(index, cst.Index) else ...
            if turned and isinstance(axis, int) and isinstance(index, cst.Index):
                place = index.with_changes(value=_axis(axis))
                element = node.slice[0].with_changes(slice=place)
                return node.with_changes(value=shape.with_changes(value=tensor), slice=[element]), False
        tensor, turned = self.value(node.value)
        elements = [self.rebuilt(element) for element in node.slice]
        if turned:
            slices = _other_slices([e for e in elements if isinstance(e, cst.SubscriptElement)])
            if slices is not None:
                return node.with_changes(value=tensor, slice=slices), True
            tensor = _transpose(tensor)
        return node.with_changes(value=tensor, slice=elements), False

    def call(self, node: cst.Call) -> tuple[cst.BaseExpression, bool]:
        base = _transposed(node)
        if base is not None:
            value, turned = self.value(base)
            if turned or node in self.moved:
                return value, not turned
        func = node.func
        args = list(node.args)
        if self_attribute(func) in self.norms and len(args) == 1:
            return self.through(node, 0, {})
        name = dotted(func)
        rotary = ROTARY.get(self.imported.get(name, ""))
        told = {arg.keyword.value: code(arg.value) for arg in args if arg.keyword is not None}
        if rotary is not None and args and told.get("use_real", "True") == "True":
            return self.through(node, 0, {rotary[0]: rotary[1]})
        if name == "torch.repeat_interleave" and "dim" in told:
            return self.through(node, 0, {"dim": 0})
        if name in ("torch.cat", "torch.concat") and args and isinstance(args[0].value, cst.List | cst.Tuple):
            return self.joined(node, args[0].value)
        if isinstance(func, cst.Attribute) and func.attr.value in _KEEPING:
            tensor, turned = self.value(func.value)
            args = [arg.with_changes(value=self.told(arg.value)) for arg in args]
            return node.with_changes(func=func.with_changes(value=tensor), args=args), turned
        axis = constant(args[0].value) if len(args) == 1 else ...
        if isinstance(func, cst.Attribute) and func.attr.value == "size" and isinstance(axis, int):
            tensor, turned = self.value(func.value)
            args = [args[0].with_changes(value=_axis(axis))] if turned else args
            return node.with_changes(func=func.with_changes(value=tensor), args=args), False
        new = self.rebuilt(node)
        assert isinstance(new, cst.Call)
        return new, False

    def told(self, node: cst.BaseExpression) -> cst.BaseExpression:
        """A tensor that only says which type or device is meant."""
        return node if isinstance(node, cst.Name) else self.plain(node)

    def through(self, node: cst.Call, at: int, axes: Mapping[str, int]) -> tuple[cst.BaseExpression, bool]:
        """A call that gives a tensor of the layout of its argument ``at``; ``axes`` name an axis of it."""
        value, turned = self.value(node.args[at].value)
        if not turned:
            new = self.rebuilt(node)
            assert isinstance(new, cst.Call)
            return new, False
        args = [
            arg.with_changes(value=value if index == at else self.plain(arg.value))
            for index, arg in enumerate(node.args)
        ]
        for name, default in axes.items():
            given = next((i for i, a in enumerate(args) if a.keyword is not None and a.keyword.value == name), None)
            axis = default if given is None else constant(args[given].value)
            if axis not in _SWAP:
                raise _UnknownError
            if given is None:
                args[-1] = args[-1].with_changes(comma=_COMMA)
                args.append(cst.Arg(_axis(axis), keyword=cst.Name(name), equal=_EQUAL))
            elif _SWAP[axis] == default:
                del args[given]
                args[-1] = args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            else:
                args[given] = args[given].with_changes(value=_axis(axis))
        return node.with_changes(args=args), True

    def joined(self, node: cst.Call, parts: cst.List | cst.Tuple) -> tuple[cst.BaseExpression, bool]:
        found = [self.value(element.value) for element in parts.elements]
        axis = constant(node.args[1].value) if len(node.args) == 2 else ...
        turned = all(t for _, t in found) and isinstance(axis, int)
        values = [value if turned or not t else _transpose(value) for value, t in found]
        elements = [e.with_changes(value=v) for e, v in zip(parts.elements, values, strict=True)]
        args = [node.args[0].with_changes(value=parts.with_changes(elements=elements)), *node.args[1:]]
        if turned:
            args[1] = args[1].with_changes(value=_axis(axis))
        return node.with_changes(args=args), turned


_EQUAL = cst.AssignEqual(whitespace_before=cst.SimpleWhitespace(""), whitespace_after=cst.SimpleWhitespace(""))


def _axis(axis: object) -> cst.BaseExpression:
    return expression(str(_SWAP.get(axis, axis) if isinstance(axis, int) else axis))


def _other_slices(elements: Sequence[cst.SubscriptElement]) -> list[cst.SubscriptElement] | None:
    """``[:, :, n:]`` as ``[:, n:]``; None for anything but slices, and those of the last axis."""
    if len(elements) == 2 and code(elements[0].slice) == "..." and isinstance(elements[1].slice, cst.Slice):
        return list(elements)
    if not all(isinstance(element.slice, cst.Slice) for element in elements) or len(elements) > 4:
        return None
    full = [*elements, *[_ALL] * (4 - len(elements))]
    full = [full[0], full[2], full[1], full[3]]
    while len(full) > 1 and code(full[-1]).rstrip(", ") == ":":
        full.pop()
    return [
        e.with_changes(comma=_COMMA if i < len(full) - 1 else cst.MaybeSentinel.DEFAULT) for i, e in enumerate(full)
    ]
