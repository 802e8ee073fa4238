"""Where libcst is imported first, for its hundreds of kinds of nodes are dataclasses: in half of the time, see
:mod:`omniport.records`.

The rooms that work with its trees import this module before any of their own; whoever asks for libcst then has it.
Nodes that are no longer frozen at run time are also made quicker, and with a tree go tens of thousands of them.
"""

from __future__ import annotations

from omniport.records import quickly_defined

with quickly_defined():
    import libcst  # noqa: F401
