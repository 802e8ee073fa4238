"""What a transformer's file holds that is not of the model: a module of its own beside it.

The adapter of a cache whose list stays a list is the same in every port that has one; a reader of the model need not
pass it.
"""

from __future__ import annotations

from omniport.rewrite.cached_blocks import ADAPTER, CLASSES
from omniport.source.toplevel import Definitions

CACHED_BLOCKS = "cached_blocks"  # name of the module
_IMPORTS = """\
from cache_dit.caching.cache_adapters.cache_adapter import CachedAdapter
from cache_dit.caching.cache_blocks.pattern_base import CachedBlocks_Pattern_Base
from torch import nn
"""


def split_cached_blocks(code: str) -> tuple[str, str]:
    """The file without the classes of the cache adapter, which it imports, and the module of these; that is "" where
    the file has none.  Imports that are left without use are the formatter's to drop."""
    if not any(f"class {name}" in code for name in CLASSES):
        return code, ""
    lines = code.splitlines(keepends=True)
    held = Definitions(code)
    found = sorted((held[name] for name in CLASSES if held.is_class(name)), key=lambda node: node.lineno)
    if not found:
        return code, ""
    own: list[str] = []
    for node in reversed(found):
        own[:0] = ["\n\n", *lines[node.lineno - 1 : node.end_lineno]]
        del lines[node.lineno - 1 : node.end_lineno]
    imported = max((node.end_lineno or 0 for node in held.imports()), default=0)
    lines.insert(imported, f"from .{CACHED_BLOCKS} import {ADAPTER}\n")
    return "".join(lines), _IMPORTS + "".join(own)
