"""Where libcst is imported first, for its hundreds of kinds of nodes are dataclasses: in half of the time, see
:mod:`omniport.records`.

The rooms that work with its trees import this module before any of their own; whoever asks for libcst then has it.
Nodes that are no longer frozen at run time are also made quicker, and with a tree go tens of thousands of them.

What passes ask of nodes all the time is answered as before, without a function in Python: a node equals itself alone
and is hashed so, and ``isinstance`` goes by the base classes.  A changed copy is made of all fields at once.
"""

from __future__ import annotations

import operator
from abc import ABCMeta
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from omniport.records import quickly_defined

with quickly_defined():
    import libcst


class _Kind(ABCMeta):
    """The class of nodes' classes: nothing is registered with them, so that ``isinstance`` need not ask for that."""

    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__


def _kinds(kind: Any) -> Iterator[Any]:
    yield kind
    for each in type.__subclasses__(kind):
        yield from _kinds(each)


class _Fields(dict[type, tuple[tuple[str, ...], Callable[[Any], Any]]]):
    """The names of a kind's fields, and what reads them all as a tuple, which two that are none make sure of."""

    def __missing__(self, kind: type) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
        names = tuple(field.name for field in fields(kind))
        found = self[kind] = names, operator.attrgetter(*names, "__class__", "__class__")
        return found


_FIELDS = _Fields()


def _with_changes(self: Any, **changes: Any) -> Any:
    """As libcst's own, which goes over the fields one by one."""
    kind = type(self)
    names, values = _FIELDS[kind]
    return kind(**(dict(zip(names, values(self), strict=False)) | changes))


for _kind in set(_kinds(libcst.CSTNode)):
    _kind.__class__ = _Kind
    _kind.__eq__, _kind.__hash__ = object.__eq__, object.__hash__
libcst.CSTNode.with_changes = _with_changes  # type: ignore[method-assign]
