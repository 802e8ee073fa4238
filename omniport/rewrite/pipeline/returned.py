"""A value that a method of a pipeline names only to return it is returned, as in the transformer."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.returns import joined_returns
from omniport.source.walk import of_kind

_DEPTH = 1  # of a method, in the class


def with_values_returned(method: cst.FunctionDef) -> cst.FunctionDef:
    """The method with each ``x = f(y)`` and ``return x`` as one line that fits; itself if there is none."""
    named = any(isinstance(line.value, cst.Name) for line in of_kind(method, cst.Return))
    return joined_returns(method, _DEPTH) if named else method
