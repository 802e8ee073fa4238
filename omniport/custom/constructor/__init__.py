"""Which parameters a class of the repository has: its constructor followed in its text, never run.

Values that the source does not show stay unknown: a dimension is then None.  Where one decides which parameters there
are (a switch, a depth, a class from elsewhere), the whole answer is an error that names the line.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from omniport.custom.constructor.layers import Unread
from omniport.custom.constructor.statements import Reader
from omniport.custom.remap import Shape
from omniport.custom.slice import Slice
from omniport.errors import UnsupportedError
from omniport.records import dataclass

__all__ = ["Parameters", "parameters_of"]


@dataclass(frozen=True)
class Parameters:
    """Names and shapes of a state dict, and names that are another's tensor (``weight = other.weight``)."""

    shapes: dict[str, Shape]
    ties: dict[str, str]


def parameters_of(found: Slice, arguments: Mapping[str, Any]) -> Parameters:
    """The state dict of the class that ``found`` is the closure of, built with ``arguments``.

    Args:
        found: the class with all it needs.
        arguments: of the constructor; what is not given has its default, or is unknown.

    Raises:
        UnsupportedError: the source does not show which parameters there are.
    """
    name = found.root
    reader = Reader(ast.parse(found.text()))
    try:
        root = reader.build(name, [], dict(arguments), strict=False)
        shapes: dict[str, Shape] = {}
        ties: dict[str, str] = {}
        first: dict[tuple[int, str], str] = {}
        for full, shape, owner, leaf in root.tensors():
            owner, leaf = reader.tied.get((id(owner), leaf), (owner, leaf))
            known = first.setdefault((id(owner), leaf), full)
            shapes[full] = shape
            if known != full:
                ties[full] = known
        return Parameters(shapes, ties)
    except Unread as unread:
        raise UnsupportedError(f"parameters of {name}: {unread}", *found.where(reader.line)) from None
    except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise UnsupportedError(
            f"parameters of {name}: {type(error).__name__}: {error}", *found.where(reader.line)
        ) from None
