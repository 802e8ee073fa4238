"""Heads are split off with ``unflatten`` and joined with ``flatten`` around the attention layer.

``inner_dim = key.shape[-1]``, ``head_dim = inner_dim // heads`` and ``query.view(batch, -1, heads, head_dim)`` are what
``query.unflatten(-1, (heads, -1))`` says in one line, if query is as wide as key.  That is read off the constructor:
both come from one fused projection, or from projections of the same size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import libcst as cst

from omniport.rewrite.dead import drop_dead_locals
from omniport.rewrite.syntax import assignment, code, dotted, expression, method, self_attribute
from omniport.source.walk import walk

Statement = cst.BaseStatement | cst.BaseSmallStatement


def widths_of(node: cst.ClassDef) -> dict[str, str]:
    """What says how wide the result of each linear of a class is (for a fused one: of each of its parts)."""
    found: dict[str, str] = {}
    init = method(node, "__init__")
    for item in walk(init.body) if init is not None else ():
        pair = assignment(item)
        name = "" if pair is None else self_attribute(pair[0])
        if pair is None or not name or not isinstance(pair[1], cst.Call):
            continue
        kind = dotted(pair[1].func).rpartition(".")[2]
        given = {arg.keyword.value: code(arg.value) for arg in pair[1].args if arg.keyword is not None}
        if kind == "QKVParallelLinear" and "total_num_kv_heads" not in given:
            width = f"{given['total_num_heads']} heads of {given['head_size']}"
        elif kind.endswith("Linear") and len(pair[1].args) > 1 and pair[1].args[1].keyword is None:
            width = code(pair[1].args[1].value)
        else:
            continue
        found[name] = width if found.get(name, width) == width else ""
    return {name: width for name, width in found.items() if width}


def split_heads(
    function: cst.FunctionDef, layers: Collection[str], norms: Collection[str], widths: Mapping[str, str]
) -> cst.FunctionDef:
    """``function`` with heads split and joined in this way; the same object if that is not proved of any.

    Args:
        layers: attributes that hold attention layers.
        norms: attributes that hold norms.
        widths: what says how wide the result of each linear is.
    """
    worker = _Heads(layers, norms, widths)
    body = worker.block(function.body.body)
    if all(new is old for new, old in zip(body, function.body.body, strict=True)):
        return function
    return drop_dead_locals(function, function.with_changes(body=function.body.with_changes(body=body)))


class _Heads:
    def __init__(self, layers: Collection[str], norms: Collection[str], widths: Mapping[str, str]) -> None:
        self.layers, self.norms, self.widths = layers, norms, widths
        self.wide: dict[str, str] = {}  # name -> width of its last dimension
        self.sizes: dict[str, str] = {}  # name of a size -> that width
        self.head_dims: dict[str, tuple[str, str]] = {}  # name of a size -> the width it is of, the number of heads
        self.batches: set[str] = set()
        self.split: set[tuple[str, str]] = set()  # heads and width of a head that tensors were viewed with
        self.attended: set[str] = set()  # names of what a layer gives

    def block(self, body: Sequence[Statement]) -> list[Statement]:
        return [self.line(line) for line in body]

    def line(self, line: Statement) -> Statement:
        pair = assignment(line)
        if pair is None:
            for part in walk(line):
                inner = assignment(part)
                if inner is not None:
                    self.forget(inner[0])
            return line
        target, value = pair
        new = self.viewed(value) or self.joined(value)
        facts = self.facts(target, value)
        attended = self.attends(value)
        self.forget(target)
        for table, name, fact in facts:
            table[name] = fact
        if isinstance(target, cst.Name):
            self.note(target.value, value)
            self.attended |= {target.value} if attended else set()
        if new is None or not isinstance(line, cst.SimpleStatementLine) or not isinstance(line.body[0], cst.Assign):
            return line
        return line.with_changes(body=[line.body[0].with_changes(value=new)])

    def forget(self, target: cst.BaseExpression) -> None:
        for part in walk(target):
            if isinstance(part, cst.Name):
                for table in (self.wide, self.sizes, self.head_dims):
                    table.pop(part.value, None)
                self.batches.discard(part.value)
                self.attended.discard(part.value)

    # -------------------------------------------------------------------------------------------------------- facts
    def facts(self, target: cst.BaseExpression, value: cst.BaseExpression) -> list[tuple[dict[str, str], str, str]]:
        """Widths that an assignment tells."""
        if isinstance(target, cst.Tuple) and isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute):
            width = self.width(value.func.value)
            if value.func.attr.value == "chunk" and code(value.args[0].value) == str(len(target.elements)) and width:
                return [(self.wide, code(element.value), width) for element in target.elements]
        if not isinstance(target, cst.Name):
            return []
        if isinstance(value, cst.Subscript) and code(value).endswith(".shape[-1]"):
            width = self.wide.get(code(value).removesuffix(".shape[-1]"), "")
            return [(self.sizes, target.value, width)] if width else []
        width = self.width(value)
        return [(self.wide, target.value, width)] if width else []

    def width(self, value: cst.BaseExpression) -> str:
        if not isinstance(value, cst.Call) or len(value.args) != 1:
            return ""
        called = self_attribute(value.func)
        if called in self.norms:
            return self.wide.get(code(value.args[0].value), "")
        return self.widths.get(called, "")

    def note(self, name: str, value: cst.BaseExpression) -> None:
        """Other facts of a name."""
        if isinstance(value, cst.BinaryOperation) and isinstance(value.operator, cst.FloorDivide):
            width = self.sizes.get(code(value.left), "")
            if width:
                self.head_dims[name] = (width, code(value.right))
        if code(value).endswith(".shape[0]"):
            self.batches.add(name)

    def attends(self, value: cst.BaseExpression) -> bool:
        """Whether a value is what a layer gives, of whatever type."""
        if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute):
            return False
        kept = value.func.attr.value in ("to", "type_as") and code(value.func.value) in self.attended
        return kept or self_attribute(value.func) in self.layers

    # ---------------------------------------------------------------------------------------------------- rewriting
    def viewed(self, value: cst.BaseExpression) -> cst.BaseExpression | None:
        """``x.view(batch, -1, heads, head_dim)`` as ``x.unflatten(-1, (heads, -1))``."""
        if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute) or len(value.args) != 4:
            return None
        batch, rest, heads, width = (code(arg.value) for arg in value.args)
        tensor = code(value.func.value)
        known = self.head_dims.get(width)
        if value.func.attr.value not in ("view", "reshape") or batch not in self.batches or rest != "-1":
            return None
        if known is None or known[1] != heads or self.wide.get(tensor) != known[0]:
            return None
        self.split.add((heads, width))
        return expression(f"{tensor}.unflatten(-1, ({heads}, -1))")

    def joined(self, value: cst.BaseExpression) -> cst.BaseExpression | None:
        """``x.reshape(batch, -1, heads * head_dim)`` of what a layer gives as ``x.flatten(2, 3)``."""
        if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute) or len(value.args) != 3:
            return None
        batch, rest = (code(arg.value) for arg in value.args[:2])
        tensor, product = code(value.func.value), value.args[2].value
        if value.func.attr.value not in ("view", "reshape") or tensor not in self.attended or rest != "-1":
            return None
        if batch not in self.batches or not isinstance(product, cst.BinaryOperation):
            return None
        split = (code(product.left), code(product.right)) in self.split
        return expression(f"{tensor}.flatten(2, 3)") if split and isinstance(product.operator, cst.Multiply) else None
