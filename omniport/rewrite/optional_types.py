"""``mask: torch.Tensor = None`` says that it may be None: ``mask: torch.Tensor | None = None``.

Source: PEP 484 as it is today; type checkers no longer read it from the default.
"""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import code

#: Names in annotations that take no ``|``: functions that stand for a type.
_FUNCTIONS = frozenset({"any", "callable"})


def with_optional_types(params: cst.Parameters) -> cst.Parameters:
    """``params`` with such annotations; the same object if there is none."""
    every = [*params.params, *params.kwonly_params]
    changed = {id(param): new for param in every if (new := _optional(param)) is not param}
    if not changed:
        return params
    return params.with_changes(
        params=[changed.get(id(param), param) for param in params.params],
        kwonly_params=[changed.get(id(param), param) for param in params.kwonly_params],
    )


def _optional(param: cst.Param) -> cst.Param:
    default = param.default
    if param.annotation is None or type(default) is not cst.Name or default.value != "None":
        return param
    typed = param.annotation.annotation
    text = code(typed).strip()
    if '"' in text or "'" in text or "None" in text or "Optional[" in text or text in ("Any", "object", *_FUNCTIONS):
        return param
    made = cst.BinaryOperation(typed, cst.BitOr(), cst.Name("None"))
    return param.with_changes(annotation=param.annotation.with_changes(annotation=made))
