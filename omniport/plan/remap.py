"""How the tensor names of a checkpoint become those of the model class: a table of rules, in nine verbs.

Part of the plan: frozen, JSON in and out.  Written by :mod:`omniport.custom.remap_guess`, applied and proved by
:mod:`omniport.custom.remap`.  Source of the verbs: what eleven ports written by hand did to names.
"""

from __future__ import annotations

from typing import Literal

from omniport.plan.model import Why
from omniport.records import sealed

Verb = Literal["strip", "add", "rename", "stack", "split", "drop", "tie", "reshape", "swap"]


@sealed(frozen=True)
class RemapRule:
    """One rule.  A name is dotted; a rule names its beginning, up to a dot or the end, and ``*`` is an index.

    ==========  ===========================  ============================  ============================
    verb        names                        into                          sizes
    ==========  ===========================  ============================  ============================
    strip       prefix that is taken off     -                             -
    add         -                            prefix that is put before     -
    rename      old                          new                           -
    stack       parts, in order              whole                         -
    split       whole                        parts, in order               rows of each part
    drop        what the class has not       -                             -
    tie         parameter that is filled     parameter with the same data  -
    reshape     parameter                    -                             its shape
    swap        parameter, halves exchanged  -                             -
    ==========  ===========================  ============================  ============================
    """

    verb: Verb
    names: tuple[str, ...]
    into: tuple[str, ...]
    sizes: tuple[int, ...]
    why: Why


@sealed(frozen=True)
class RemapTable:
    """The rules of one component; their order has no meaning.

    A tensor loses its prefix, is dropped or not, gets a prefix, then takes part in one split, stack or rename (in this
    order; of several, that of the longest name), and is reshaped or swapped under its new name.
    """

    rules: tuple[RemapRule, ...]
