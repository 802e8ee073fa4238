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
def meaningful_fields(cls: type[cst.CSTNode]) -> tuple[str, ...]:
    """Fields of a kind of node that hold more than layout."""
    return tuple(f.name for f in dataclasses.fields(cls) if not _LAYOUT.match(f.name))


class _Kinds(dict[type, bool]):
    def __missing__(self, kind: type) -> bool:
        found = self[kind] = issubclass(kind, cst.CSTNode)
        return found


#: Whether a type is one of libcst's nodes; isinstance of an abstract class costs several times as much.
IS_NODE = _Kinds()


def children(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The children of ``node`` that mean something, in source order of their fields."""
    for name in meaningful_fields(type(node)):
        value = getattr(node, name)
        if IS_NODE[type(value)]:
            yield value
        elif type(value) in (list, tuple):
            for item in value:
                if IS_NODE[type(item)]:
                    yield item


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """``node`` and everything below it, parents first."""
    todo = [node]
    while todo:
        current = todo.pop()
        yield current
        below = list(children(current))
        if below:
            below.reverse()
            todo += below
