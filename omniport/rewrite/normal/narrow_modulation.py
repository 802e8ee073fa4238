"""Modulation is not copied for each token if blocks only scale and shift their tokens by it.

``t.unsqueeze(0).expand(tokens, -1, -1).contiguous()`` for shift, scale and gate is read and cast token by token in
every block; ``t.unsqueeze(0)`` broadcasts to the same, and nothing of it has to be split over sequence-parallel ranks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import libcst as cst

from omniport.rewrite.syntax import assignment, code, method, names_in, self_attribute
from omniport.source.syntax import constant
from omniport.source.transform import transform
from omniport.source.walk import children, of_kind

_ARITHMETIC = (cst.Add, cst.Subtract, cst.Multiply, cst.Divide)
_CASTS = frozenset({"float", "to", "type_as"})


def narrow_modulation(
    classes: Mapping[str, cst.ClassDef], root: str, held: Mapping[str, Collection[str]]
) -> cst.ClassDef:
    """The class ``root`` with such tensors left to broadcasting; the same object if there are none.

    Args:
        classes: every class of the module.
        root: name of the class whose forward expands them and calls the blocks.
        held: attribute of ``root`` -> classes of the modules that it holds.
    """
    node = classes[root]
    forward = method(node, "forward")
    if forward is None:
        return node
    for line in of_kind(forward.body, cst.SimpleStatementLine):
        names, length, narrow = _expanded(line)
        if narrow is not None and _broadcasts(forward, line, names, length, classes, held):
            made = transform(node, _Replace(line, narrow))
            assert isinstance(made, cst.ClassDef)
            return made
    return node


class _Replace(cst.CSTTransformer):
    def __init__(self, line: cst.SimpleStatementLine, value: cst.BaseExpression) -> None:
        self.line, self.value = line, value

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        if original_node is not self.line:
            return updated_node
        return updated_node.with_changes(
            body=[cst.ensure_type(updated_node.body[0], cst.Assign).with_changes(value=self.value)]
        )


def _expanded(line: cst.SimpleStatementLine) -> tuple[list[str], tuple[str, int], cst.BaseExpression | None]:
    """What an assignment expands along an axis of one entry: its names, the length and axis, and the value without."""
    pair = assignment(line)
    if pair is None:
        return [], ("", 0), None
    target, value = pair
    elements = [e.value for e in target.elements] if isinstance(target, cst.Tuple) else [target]
    names = [e.value for e in elements if isinstance(e, cst.Name)]
    each = value.elt if isinstance(value, cst.ListComp) else value
    if len(names) != len(elements) or isinstance(value, cst.ListComp) != isinstance(target, cst.Tuple):
        return [], ("", 0), None
    if (dense := _called(each, "contiguous")) is not None and not cst.ensure_type(each, cst.Call).args:
        each = dense
    operand = _called(each, "expand")
    inner = _called(operand, "unsqueeze") if operand is not None else None
    if operand is None or inner is None:
        return [], ("", 0), None
    sizes = [a.value for a in cst.ensure_type(each, cst.Call).args]
    axes = [constant(a.value) for a in cst.ensure_type(operand, cst.Call).args]
    wide = [at for at, size in enumerate(sizes) if constant(size) != -1]
    if len(axes) != 1 or wide != axes or not isinstance(sizes[wide[0]], cst.Name):
        return [], ("", 0), None
    narrow = value.with_changes(elt=operand) if isinstance(value, cst.ListComp) else operand
    return names, (code(sizes[wide[0]]), wide[0]), narrow


def _called(node: cst.CSTNode, name: str) -> cst.BaseExpression | None:
    """``x`` of ``x.name(...)``."""
    fits = isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == name
    return cst.ensure_type(cst.ensure_type(node, cst.Call).func, cst.Attribute).value if fits else None


def _broadcasts(
    forward: cst.FunctionDef,
    line: cst.SimpleStatementLine,
    names: list[str],
    length: tuple[str, int],
    classes: Mapping[str, cst.ClassDef],
    held: Mapping[str, Collection[str]],
) -> bool:
    """Whether the tensors go to blocks alone, with the tokens whose length they have, and are arithmetic there."""
    tokens = _tokens(forward, *length)
    if not tokens or _bound(forward, names) != len(names):
        return False
    packs: dict[str, list[str]] = {}
    counted = 0
    for target, value in _pairs(forward):
        items = _items(value) if isinstance(value, cst.List | cst.Tuple) else []
        if isinstance(target, cst.Name) and set(items) & set(names):
            packs[target.value] = items
            counted += sum(item in names for item in items)
    handed = 0
    for call in of_kind(forward.body, cst.Call):
        given = {code(a.value): (at, a.keyword) for at, a in enumerate(call.args) if isinstance(a.value, cst.Name)}
        taken = [name for name in (*names, *packs) if name in given]
        if not taken:
            continue
        blocks = _blocks(forward, call, held)
        if tokens not in given or not blocks or not blocks <= set(classes):
            return False
        for block in blocks:
            function = method(classes[block], "forward")
            if function is None or not _arithmetic(function, given, tokens, [(n, packs.get(n)) for n in taken], names):
                return False
        handed += sum(code(a.value) in taken for a in call.args)
    reads = sum(n.value in {*names, *packs} for n in of_kind(forward.body, cst.Name))
    return bool(handed) and reads == len(names) + counted + len(packs) + handed


def _bound(function: cst.FunctionDef, names: Collection[str]) -> int:
    """How often the names are bound in a function."""
    targets = [pair[0] for pair in _pairs(function)]
    found = [t for target in targets for t in (_items(target) if isinstance(target, cst.Tuple) else [code(target)])]
    return sum(name in names for name in found)


def _pairs(function: cst.FunctionDef) -> list[tuple[cst.BaseExpression, cst.BaseExpression]]:
    """Target and value of each assignment of a function."""
    return [p for p in map(assignment, of_kind(function.body, cst.SimpleStatementLine)) if p is not None]


def _items(node: cst.List | cst.Tuple) -> list[str]:
    return [code(element.value) for element in node.elements]


def _tokens(forward: cst.FunctionDef, length: str, axis: int) -> str:
    """The tensor whose ``axis`` has this length, if the name is bound to that alone."""
    values = [value for target, value in _pairs(forward) if code(target) == length]
    if len(values) != 1 or _bound(forward, [length]) != 1:
        return ""
    value = values[0]
    name = code(value).removesuffix(f".shape[{axis}]").removesuffix(f".size({axis})")
    return name if name.isidentifier() and name != code(value) else ""


def _blocks(forward: cst.FunctionDef, call: cst.Call, held: Mapping[str, Collection[str]]) -> set[str]:
    """The classes of the blocks that a call may run: ``self.block(...)``, or the variable of a loop over blocks."""
    if name := self_attribute(call.func):
        return set(held.get(name, ()))
    loops = [f for f in of_kind(forward.body, cst.For) if code(call.func) in names_in(f.target)]
    found = {self_attribute(part) for f in loops for part in [f.iter, *of_kind(f.iter, cst.Attribute)]} - {""}
    return set().union(*(held.get(name, ()) for name in found)) if len(loops) == 1 and len(found) == 1 else set()


def _arithmetic(
    function: cst.FunctionDef,
    given: Mapping[str, tuple[int, cst.Name | None]],
    tokens: str,
    taken: list[tuple[str, list[str] | None]],
    names: Collection[str],
) -> bool:
    """Whether a block only adds to its tokens, and multiplies them by, what it takes for ``taken``."""
    params = [p.name.value for p in function.params.params if p.name.value != "self"]

    def param(name: str) -> str:
        at, keyword = given[name]
        return keyword.value if keyword is not None else params[at] if at < len(params) else ""

    narrow: set[str] = set()
    for name, items in taken:
        own = param(name)
        if not own or _bound(function, [own]):
            return False
        if items is None:
            narrow.add(own)
            continue
        targets = [target for target, value in _pairs(function) if code(value) == own]
        parts = _items(targets[0]) if len(targets) == 1 and isinstance(targets[0], cst.Tuple) else []
        reads = sum(n.value == own for n in of_kind(function.body, cst.Name))
        if len(parts) != len(items) or reads != 1 or _bound(function, parts) != len(parts):
            return False
        narrow |= {part for part, item in zip(parts, items, strict=True) if item in names}
    return _Body(narrow, _from(function, param(tokens))).fits(function.body)


def _from(function: cst.FunctionDef, tokens: str) -> set[str]:
    """``tokens`` and the locals that are made of them."""
    found = {tokens}
    pairs = _pairs(function)
    while more := {code(t) for t, value in pairs if found & set(names_in(value)) and isinstance(t, cst.Name)} - found:
        found |= more
    return found


class _Body:
    def __init__(self, narrow: set[str], tokens: set[str]) -> None:
        self.narrow, self.tokens = narrow, tokens - narrow

    def fits(self, node: cst.CSTNode) -> bool:
        """Whether ``node`` reads what is narrow in sums and products with tokens alone."""
        if isinstance(node, cst.Name):
            return node.value not in self.narrow
        if isinstance(node, cst.Assign) and isinstance(node.targets[0].target, cst.Tuple):
            return self.fits(node.value)  # binding a part is no read
        if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, _ARITHMETIC):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if self.is_narrow(one) and self.tokens & set(names_in(other)):
                    return self.fits(other)
        return all(self.fits(child) for child in children(node))

    def is_narrow(self, node: cst.CSTNode) -> bool:
        """Whether a value is made of what is narrow and numbers alone, in steps that keep its shape."""
        if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, _ARITHMETIC):
            sides = [node.left, node.right]
            plain = [isinstance(side, cst.Integer | cst.Float) for side in sides]
            return not all(plain) and all(p or self.is_narrow(s) for p, s in zip(plain, sides, strict=True))
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value in _CASTS:
            return self.is_narrow(node.func.value)
        return isinstance(node, cst.Name) and node.value in self.narrow
