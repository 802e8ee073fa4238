"""The slice of a repository beside the library that it is written with, as one source tree.

A denoiser may hold a whole model of diffusers, or blocks of one.  The passes of Path A bring such classes along and
rewrite them as they do those of a published pipeline, instead of importing what attends and multiplies by itself.
"""

from __future__ import annotations

from dataclasses import field

from omniport.records import dataclass
from omniport.source.tree import SourceModule, SourceTree


@dataclass
class SliceTree(SourceTree):
    """A tree whose one own module is the slice; every other name is looked up in ``library``."""

    library: SourceTree = field(kw_only=True)
    old_calls: bool = field(default=True, kw_only=True)  # a repository may be older than the library that is installed
    callers: bool = field(default=False, kw_only=True)  # the slice is of the denoiser alone

    def module(self, name: str) -> SourceModule | None:
        return self._modules.get(name) or self.library.module(name)
