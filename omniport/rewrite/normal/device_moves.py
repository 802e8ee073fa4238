"""``shift = shift.to(hidden_states.device)`` of what lies there already.

diffusers moves such tensors for accelerate, which may put the layers of one model on several devices.  A port lies on
one device with its inputs: what a parameter is part of is where the module is.  Tensors that a forward makes by itself
are left alone, and so is a move to the device of one of those.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from omniport.rewrite.normal.substitute import assigned_in
from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_PARAMETER = ("nn.Parameter", "torch.nn.Parameter")
_MAKERS = tuple(
    f"torch.{name}" for name in ("arange", "as_tensor", "empty", "eye", "from", "full", "linspace", "meshgrid")
)
_MAKERS += tuple(f"torch.{name}" for name in ("ones", "rand", "tensor", "tril", "triu", "zeros"))
_AWAY = frozenset({"cpu", "cuda", "numpy", "tolist", "item"})


def drop_device_moves(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``node`` without such moves in its forward; the same object if there is none."""
    own = facts.classes[node.name.value]
    forward, init = own.function("forward"), own.function("__init__")
    if forward is None or init is None or not any(map(_moves, of_kind(forward, cst.Call))):
        return node
    parameters = {
        name
        for part in of_kind(init, cst.Assign)
        if isinstance(part.value, cst.Call) and dotted(part.value.func) in _PARAMETER
        for target in part.targets
        if (name := dotted(target.target) or "").startswith("self.")
    }
    place = _Place(forward, parameters)
    moves = [call for call in of_kind(forward, cst.Call) if place.stays(call)]
    if not moves:
        return node
    new = transform(forward, _Drop(set(moves)))
    members = [new if member is forward else member for member in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def _moves(call: cst.Call) -> bool:
    """Whether it reads ``x.to(y.device)``."""
    if not isinstance(call.func, cst.Attribute) or call.func.attr.value != "to" or len(call.args) != 1:
        return False
    place = call.args[0].value
    return isinstance(place, cst.Attribute) and place.attr.value == "device"


class _Place:
    """What lies on the module's device: ``names`` by their assignments, ``parameters`` by the constructor."""

    def __init__(self, forward: cst.FunctionDef, parameters: set[str]) -> None:
        self.parameters = parameters
        values = list(_assignments(forward))
        named = {p.name.value for p in forward.params.params} - {"self"}
        self.anchors = (named | {name for name, _ in values}) - {name for name, value in values if _made(value)}
        self.names = {name for name, _ in values} - named
        while lost := {name for name, value in values if name in self.names and not self.holds(value)}:
            self.names -= lost

    def holds(self, node: cst.BaseExpression | None) -> bool:
        """Whether ``node`` is computed from a parameter, so that it lies where the module does."""
        if isinstance(node, cst.Name):
            return node.value in self.names
        if isinstance(node, cst.Attribute):
            return dotted(node) in self.parameters
        if isinstance(node, cst.BinaryOperation):  # of two tensors on different devices there is no sum
            return self.holds(node.left) or self.holds(node.right)
        if isinstance(node, cst.UnaryOperation):
            return self.holds(node.expression)
        if isinstance(node, cst.Subscript):
            return self.holds(node.value)
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            away = node.func.attr.value in _AWAY or "device" in code(node) and not self.stays(node)
            return not away and self.holds(node.func.value)
        return False

    def stays(self, call: cst.Call) -> bool:
        """``x.to(y.device)`` where ``x`` is computed from a parameter, and ``y`` is an input or computed likewise."""
        if not isinstance(call.func, cst.Attribute) or not _moves(call):
            return False
        (argument,) = call.args
        owner = (dotted(argument.value) or "").removesuffix(".device")
        return argument.keyword is None and owner in self.anchors and self.holds(call.func.value)


def _assignments(forward: cst.FunctionDef) -> Iterator[tuple[str, cst.BaseExpression | None]]:
    """Every name that the forward binds, with the value; None for what is bound by more than an assignment."""
    for part in of_kind(forward, cst.Assign):
        target, value = part.targets[0].target, part.value
        if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple) and len(part.targets) == 1:
            pairs = list(zip(target.elements, value.elements, strict=False))
            if len(target.elements) == len(value.elements) and all(isinstance(t.value, cst.Name) for t, _ in pairs):
                yield from ((code(t.value), v.value) for t, v in pairs)
                continue
        for name in assigned_in(part):
            yield name, value
    for kind in (cst.For, cst.AugAssign, cst.NamedExpr, cst.AnnAssign):
        for node in of_kind(forward, kind):
            for name in assigned_in(node.target if isinstance(node, cst.For) else node):
                yield name, None


def _made(value: cst.BaseExpression | None) -> bool:
    """Whether a tensor may come from nowhere: from a loop, a literal, a function that makes one, or from the CPU."""
    if value is None or isinstance(value, cst.Name | cst.Integer | cst.Float | cst.List | cst.Tuple):
        return True
    calls = [dotted(call.func) or "" for call in of_kind(value, cst.Call)]
    return any(name.rpartition(".")[2] in _AWAY or name.startswith(_MAKERS) for name in calls)


class _Drop(cst.CSTTransformer):
    def __init__(self, moves: set[cst.Call]) -> None:
        self.moves = moves

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if original_node not in self.moves:
            return updated_node
        assert isinstance(updated_node.func, cst.Attribute)
        return updated_node.func.value
