"""The normal form: a reference transformer reduced to plain PyTorch.

It is what lies between the two halves of a port.  Reading and specialising (``source``, ``analyse.specialise``) end in
it; sharding (``analyse.tp``, ``analyse.sp``, ``rewrite``) begins with it.  It computes what the reference computes
under its published use, with the reference's class, attribute and parameter names, and

* holds every class that contains a linear to shard or an attention to replace, each specialised: no processor object,
  no mixin, no decorator, no training, LoRA, IP-adapter or ControlNet branch, no condition that the call sites decide;
* imports everything else from the reference package by absolute name;
* calls attention as ``dispatch_attention_fn(query, key, value, attn_mask=...)`` on ``[B, S, H, D]`` tensors.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import field
from typing import TYPE_CHECKING

from omniport.records import dataclass

if TYPE_CHECKING:
    import libcst


@dataclass(frozen=True)
class Origin:
    """Where a line of the normal form comes from: a file relative to its package root, 1-based line."""

    file: str
    line: int


@dataclass(frozen=True)
class NormalForm:
    """Source text of one module: header comment, imports, classes in dependency order, the root class last."""

    code: str
    root: str
    origins: tuple[Origin | None, ...]  # one for each line of ``code``; None where no source line stands behind it
    #: The classes of ``code`` as trees, where they are in hand: the text is theirs, blanks aside.
    classes: tuple[libcst.ClassDef, ...] = field(default=(), compare=False, repr=False)
    head: str = field(default="", compare=False, repr=False)  # the text in front of them
    parsed: ast.Module | None = field(default=None, compare=False, repr=False)  # ``code``, where it is in hand

    @functools.cached_property
    def tree(self) -> ast.Module:
        """``code`` parsed once for all who read it; nobody changes it."""
        return self.parsed or ast.parse(self.code)

    def origin(self, line: int) -> Origin:
        """The source of 1-based ``line``, or of the nearest line above it that has one."""
        for entry in reversed(self.origins[:line]):
            if entry is not None:
                return entry
        return Origin("", 0)
