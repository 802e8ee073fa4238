"""Read-only traversal of libcst trees.

A libcst visitor rebuilds the tree it walks and calls hooks for every token and blank; reading is many times faster
without.  Whitespace, commas, brackets and the like are left out.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator

import libcst as cst

_LAYOUT = re.compile(
    r"whitespace|[lr](par|brace?|bracket)|leading_lines|lines_after|trailing|comma|header|footer|indent|dot|equal"
    r"|semicolon|empty_lines|asynchronous"
)


@functools.cache
def _fields(cls: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if not _LAYOUT.match(f.name))


@functools.cache
def _is_node(cls: type) -> bool:
    return issubclass(cls, cst.CSTNode)  # isinstance of an abstract class costs several times as much


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The children of ``node`` that mean something, in source order of their fields."""
    for name in _fields(type(node)):
        value = getattr(node, name)
        if _is_node(type(value)):
            yield value
        elif type(value) in (list, tuple):
            for item in value:
                if _is_node(type(item)):
                    yield item


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """``node`` and everything below it, parents first."""
    todo = [node]
    while todo:
        current = todo.pop()
        yield current
        todo.extend(reversed(list(children(current))))
