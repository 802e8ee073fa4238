"""Return annotations that say another number of values than the function gives back.

``-> torch.Tensor`` of a function that returns two is ``-> tuple[torch.Tensor, torch.Tensor]``; where it is not sure
that all are alike, no annotation says more than a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.source.syntax import code
from omniport.source.walk import of_kind

_TENSORS = ("torch.Tensor", "torch.FloatTensor")
_LITERALS = (cst.Integer, cst.Float, cst.SimpleString, cst.List, cst.Tuple, cst.Dict)


def with_return_type(function: cst.FunctionDef, returned: Sequence[cst.Return]) -> cst.FunctionDef:
    """``function`` with an annotation for as many values as every one of its ``returned`` has; itself where it fits."""
    if function.returns is None or not returned:
        return function
    values = [node.value for node in returned]
    tuples = [value for value in values if isinstance(value, cst.Tuple)]
    sizes = {len(value.elements) for value in tuples}
    if len(tuples) < len(values) or len(sizes) > 1 or any(isinstance(e, cst.StarredElement) for e in _elements(tuples)):
        return function
    kinds = _kinds(function.returns.annotation)
    (size,) = sizes
    if kinds is None or len(kinds) == size or size < 2:
        return function
    if len(set(kinds)) > 1 or any(_other(element.value, function) for element in _elements(tuples)):
        return function.with_changes(returns=None)
    text = f"tuple[{', '.join(kinds[:1] * size)}]"
    return function.with_changes(returns=function.returns.with_changes(annotation=cst.parse_expression(text)))


def _elements(tuples: Sequence[cst.Tuple]) -> list[cst.BaseElement]:
    return [element for value in tuples for element in value.elements]


def _kinds(annotation: cst.BaseExpression) -> list[str] | None:
    """The types of the values that an annotation says are returned; None where it says no number."""
    text = code(annotation).strip()
    if text in _TENSORS:
        return ["torch.Tensor"]
    if not isinstance(annotation, cst.Subscript) or code(annotation.value).lower() != "tuple":
        return None
    kinds = [code(part.slice).strip() for part in annotation.slice]
    return None if "..." in kinds else kinds


def _other(value: cst.BaseExpression, function: cst.FunctionDef) -> bool:
    """Whether a returned value may be none of the kind that the annotation says."""
    if isinstance(value, _LITERALS) or code(value) in ("None", "True", "False"):
        return True
    if not isinstance(value, cst.Name):
        return False
    for part in of_kind(function.body, cst.Assign):
        named = any(code(target.target) == value.value for target in part.targets)
        if named and (isinstance(part.value, _LITERALS) or "None" in (code(part.value), *_choices(part.value))):
            return True
    notes = [p.annotation for p in function.params.params if p.name.value == value.value]
    return any(note is not None and "Tensor" not in code(note.annotation) for note in notes)


def _choices(value: cst.BaseExpression) -> tuple[str, ...]:
    return (code(value.body), code(value.orelse)) if isinstance(value, cst.IfExp) else ()
