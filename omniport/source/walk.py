"""Read-only traversal of libcst trees.

A libcst visitor rebuilds the tree it walks and calls hooks for every token and blank; reading is many times faster
without.  Whitespace, commas, brackets and the like are left out.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import libcst as cst

N = TypeVar("N", bound=cst.CSTNode)

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
        found = self[kind] = cst.CSTNode in kind.__mro__
        return found


#: Whether a type is one of libcst's nodes.  Its base classes are abstract: isinstance of one costs several times as
#: much, and the first time it asks every class that derives from it.
IS_NODE = _Kinds()


@functools.cache
def branches(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """The meaningful fields that can hold nodes, last first."""
    types = {f.name: f.type for f in dataclasses.fields(kind)}
    return tuple(name for name in reversed(meaningful_fields(kind)) if types[name] not in (str, bool, str | None))


def children(node: cst.CSTNode) -> list[cst.CSTNode]:
    """The children of ``node`` that mean something, in source order of their fields."""
    found: list[cst.CSTNode] = []
    _below(node, found)
    found.reverse()
    return found


class _Getters(dict[type, Callable[[Any], tuple[Any, ...]] | None]):
    def __missing__(self, kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
        names = branches(kind)
        found = self[kind] = operator.attrgetter(*names, "__class__") if names else None  # of two at least, as a tuple
        return found


#: The values of the fields of :func:`branches`, and the kind itself, which is no node; None for kinds without.
_VALUES = _Getters()


def _below(node: cst.CSTNode, found: list[cst.CSTNode]) -> None:
    """Add the children of ``node`` to ``found``, last first."""
    values = _VALUES[type(node)]
    if values is None:
        return
    for value in values(node):
        kind = type(value)
        if kind is tuple or kind is list:
            for item in reversed(value):
                if IS_NODE[type(item)]:
                    found.append(item)
        elif IS_NODE[kind]:
            found.append(value)


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """``node`` and everything below it, parents first."""
    todo = [node]
    while todo:
        current = todo.pop()
        if type(current) is cst.SimpleStatementLine or type(current) is cst.FunctionDef:
            yield from _nodes(current)
            continue
        yield current
        _below(current, todo)


@functools.lru_cache(maxsize=20_000)
def _nodes(statement: cst.FunctionDef | cst.SimpleStatementLine) -> tuple[cst.CSTNode, ...]:
    """What :func:`walk` gives for a function or a line: passes leave most of them alone, and walk them again and
    again."""
    found: list[cst.CSTNode] = [statement]
    todo: list[cst.CSTNode] = []
    _below(statement, todo)
    while todo:
        current = todo.pop()
        if type(current) is cst.SimpleStatementLine:
            found += _nodes(current)
            continue
        found.append(current)
        _below(current, todo)
    return tuple(found)


@functools.lru_cache(maxsize=20_000)
def _by_kind(statement: cst.FunctionDef | cst.SimpleStatementLine) -> dict[type, list[cst.CSTNode]]:
    """The same by kind."""
    found: dict[type, list[cst.CSTNode]] = {}
    if type(statement) is cst.SimpleStatementLine:
        for node in _nodes(statement):
            found.setdefault(type(node), []).append(node)
        return found
    todo: list[cst.CSTNode] = []
    current: cst.CSTNode = statement
    while True:
        if type(current) is cst.SimpleStatementLine:
            for kind, nodes in _by_kind(current).items():
                found.setdefault(kind, []).extend(nodes)
        else:
            found.setdefault(type(current), []).append(current)
            _below(current, todo)
        if not todo:
            return found
        current = todo.pop()


_COMPOUND = frozenset({cst.SimpleStatementLine, cst.FunctionDef, cst.ClassDef, cst.If, cst.Else, cst.For, cst.With})


def kinds(node: cst.CSTNode) -> frozenset[type] | None:
    """The kinds of ``node`` and of all nodes below it, for statements; None for what is quicker walked than asked."""
    return _kinds(node) if type(node) in _COMPOUND else None


@functools.lru_cache(maxsize=20_000)
def _kinds(node: cst.CSTNode) -> frozenset[type]:
    if type(node) is cst.SimpleStatementLine:
        return frozenset(map(type, _nodes(node)))
    found: set[type] = {type(node)}
    todo: list[cst.CSTNode] = []
    _below(node, todo)
    while todo:
        current = todo.pop()
        if type(current) in _COMPOUND:
            found |= _kinds(current)
        else:
            found.add(type(current))
            _below(current, todo)
    return frozenset(found)


def of_kind(node: cst.CSTNode, kind: type[N]) -> list[N]:
    """The nodes of ``kind``, which is no abstract one, that :func:`walk` gives."""
    found: list[Any] = []
    todo = [node]
    while todo:
        current = todo.pop()
        if type(current) is cst.SimpleStatementLine or type(current) is cst.FunctionDef:
            found += _by_kind(current).get(kind, ())
            continue
        if type(current) is kind:
            found.append(current)
        _below(current, todo)
    return found


def unshared(node: cst.ClassDef, seen: set[int]) -> cst.ClassDef:
    """``node`` with :func:`fresh` members for those that hold a node twice, or one whose id is among ``seen``.

    The ids of all that it held are added to ``seen``.
    """
    members = []
    for member in node.body.body:
        held = [id(part) for part in walk(member)]
        own = set(held)
        members.append(member if len(own) == len(held) and seen.isdisjoint(own) else fresh(member))
        seen |= own
    changed = any(new is not old for new, old in zip(members, node.body.body, strict=True))
    return node.with_changes(body=node.body.with_changes(body=members)) if changed else node


def fresh(node: N) -> N:
    """A copy of ``node`` in which every node that :func:`walk` meets is new, for facts that go by the node."""
    new = object.__new__(type(node))
    for name, means in _fields(type(node)):
        value = getattr(node, name)
        if means:
            if IS_NODE[type(value)]:
                value = fresh(value)
            elif type(value) in (list, tuple):
                value = type(value)(fresh(item) if IS_NODE[type(item)] else item for item in value)
        object.__setattr__(new, name, value)
    return new


@functools.cache
def _fields(kind: type[cst.CSTNode]) -> tuple[tuple[str, bool], ...]:
    """Every field of a kind of node, and whether it holds more than layout."""
    meaningful = meaningful_fields(kind)
    return tuple((f.name, f.name in meaningful) for f in dataclasses.fields(kind))
