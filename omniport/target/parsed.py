"""Syntax trees of texts, kept: several checks look at the same module, of the port or of the tree."""

from __future__ import annotations

import ast
import functools


@functools.lru_cache(maxsize=64)
def parsed(text: str) -> ast.Module:
    """The tree of ``text``, a byte order mark aside; nobody changes it.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as :func:`ast.parse`; nothing is kept then.
    """
    return ast.parse(text.removeprefix("\ufeff"))
