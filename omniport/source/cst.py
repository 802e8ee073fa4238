"""Where libcst is imported first, for its hundreds of kinds of nodes are dataclasses: in half of the time, see
:mod:`omniport.records`.

The rooms that work with its trees import this module before any of their own; whoever asks for libcst then has it.
Nodes that are no longer frozen at run time are also made quicker, and with a tree go tens of thousands of them.
"""

from __future__ import annotations

from omniport.records import quickly_defined

with quickly_defined():
    import libcst


def _hashed_quickly() -> None:
    """Nodes are hashed by identity, which libcst does in Python; facts that go by the node ask for it all the time."""
    slow, todo = libcst.CSTNode.__hash__, [libcst.CSTNode]
    for kind in todo:  # it grows on the way
        todo += kind.__subclasses__()
    for kind in reversed(todo):  # what derives from a class is not told of a change in it
        if vars(kind).get("__hash__") is slow:
            kind.__hash__ = object.__hash__  # type: ignore[method-assign]


_hashed_quickly()
