"""A number that a round of the loop needs on the device is filled in there, which the host does not wait for.

``torch.tensor([x], device=d)`` copies a list from the host's memory; ``torch.full([1], x, device=d)`` is the same
tensor, of the type that either takes from the number.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import bound, suite
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def with_numbers_filled(diffuse: cst.FunctionDef) -> cst.FunctionDef:
    """``diffuse`` with literals, and parameters that are numbers by their annotation, so; the same object if none."""
    if not any(dotted(call.func) == "torch.tensor" for call in of_kind(diffuse, cst.Call)):
        return diffuse
    annotated = {p.name.value: p.annotation for p in diffuse.params.params if p.annotation is not None}
    numbers = {name for name, a in annotated.items() if code(a.annotation).strip() in ("float", "int")}
    new = transform(diffuse, _Fill(numbers - bound(suite(diffuse.body))))
    assert isinstance(new, cst.FunctionDef)
    return new


class _Fill(cst.CSTTransformer):
    def __init__(self, numbers: set[str]) -> None:
        self.numbers = numbers

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if dotted(updated_node.func) != "torch.tensor" or len(updated_node.args) != 2:
            return updated_node
        listed, device = updated_node.args
        one = isinstance(listed.value, cst.List) and len(listed.value.elements) == 1 and not listed.keyword
        if not one or device.keyword is None or device.keyword.value != "device":
            return updated_node
        value = listed.value.elements[0].value  # type: ignore[attr-defined]
        if not isinstance(value, cst.Integer | cst.Float) and dotted(value) not in self.numbers:
            return updated_node
        return cst.parse_expression(f"torch.full([1], {code(value)}, device={code(device.value)})")
