"""Rewriting of libcst trees that leaves alone what does not change.

``node.visit(transformer)`` of libcst makes every node anew and calls hooks for every token and blank.  Most rewrites
touch a few nodes of a class: :func:`transform` takes the same transformers, walks only what :mod:`omniport.source.walk`
walks, makes anew only what changed, and so keeps everything else the same object, for caches that go by the node.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import libcst as cst

from omniport.source.walk import IS_NODE, branches, kinds

#: Order of visits where the source's order is another than that of the fields.
_ORDER: dict[type[cst.CSTNode], tuple[str, ...]] = {
    cst.Arg: ("keyword", "value"),
    cst.ClassDef: ("decorators", "name", "type_parameters", "bases", "keywords", "body"),
    cst.ExceptHandler: ("type", "name", "body"),
    cst.ExceptStarHandler: ("type", "name", "body"),
    cst.FunctionDef: ("decorators", "name", "type_parameters", "params", "returns", "body"),
    cst.IfExp: ("body", "test", "orelse"),
    cst.MatchCase: ("pattern", "guard", "body"),
    cst.Parameters: ("posonly_params", "posonly_ind", "params", "star_arg", "kwonly_params", "star_kwarg"),
}

_Hook = Callable[..., Any]


def transform(node: cst.CSTNode, transformer: cst.CSTTransformer) -> Any:
    """What ``node.visit(transformer)`` returns, with every unchanged node itself in it.

    Hooks on layout (commas, brackets, blanks, comments), ``on_visit`` and ``on_leave`` are not supported.

    Raises:
        TypeError: the transformer has such a hook, or removes a node that must be there.
    """
    visit, leave, fields = _hooks(type(transformer))
    return _Walk(transformer, visit, leave, fields).node(node)


class _Walk:
    def __init__(
        self,
        transformer: cst.CSTTransformer,
        visit: dict[type, _Hook],
        leave: dict[type, _Hook],
        fields: dict[tuple[type, str], _Hook],
    ) -> None:
        self.transformer, self.visit, self.leave, self.fields = transformer, visit, leave, fields
        self.hooked = frozenset((*visit, *leave, *(kind for kind, _ in fields)))

    def node(self, node: cst.CSTNode) -> Any:
        kind = type(node)
        if (within := kinds(node)) is not None and self.hooked.isdisjoint(within):
            return node
        hook = self.visit.get(kind)
        new = node
        if hook is None or hook(self.transformer, node) is not False:
            changes: dict[str, Any] | None = None
            for name, default in _walked(kind):
                if self.fields and (hook := self.fields.get((kind, name))) is not None:
                    hook(self.transformer, node)
                old = getattr(node, name)
                if old is None:
                    continue
                value = self.sequence(old) if type(old) in (list, tuple) else self.single(old, default)
                if value is not old:
                    changes = changes or {}
                    changes[name] = value
            if changes:
                new = node.with_changes(**changes)
        hook = self.leave.get(kind)
        return new if hook is None else hook(self.transformer, node, new)

    def single(self, old: Any, default: Any) -> Any:
        if not IS_NODE[type(old)]:
            return old
        new = self.node(old)
        if new is old or IS_NODE[type(new)]:
            return new
        if isinstance(new, cst.RemovalSentinel) and default is not dataclasses.MISSING:
            return default
        raise TypeError(f"a {type(old).__name__} cannot become {new} here")

    def sequence(self, old: Any) -> Any:
        made: list[Any] = []
        changed = False
        for item in old:
            new = self.node(item) if IS_NODE[type(item)] else item
            if new is item:
                made.append(item)
                continue
            changed = True
            if isinstance(new, cst.FlattenSentinel):
                made.extend(part for part in new if not _emptied(item, part))
            elif not isinstance(new, cst.RemovalSentinel) and not _emptied(item, new):
                made.append(new)
        return tuple(made) if changed else old


def _emptied(old: Any, new: Any) -> bool:
    """Whether the last statement of a line has been removed, and with it the line."""
    line = isinstance(old, cst.SimpleStatementLine) and isinstance(new, cst.SimpleStatementLine)
    return line and bool(old.body) and not new.body


@functools.cache
def _walked(kind: type[cst.CSTNode]) -> tuple[tuple[str, Any], ...]:
    """Fields that may hold nodes with what stands there when the node is removed; MISSING where it may not be."""
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    names = branches(kind)[::-1]
    order = _ORDER.get(kind, ())
    return tuple((n, defaults[n]) for n in (*order, *(n for n in names if n not in order)))


@functools.cache
def _hooks(
    kind: type[cst.CSTTransformer],
) -> tuple[dict[type, _Hook], dict[type, _Hook], dict[tuple[type, str], _Hook]]:
    """The transformer's own hooks: before a node, after it, before a field."""
    visit: dict[type, _Hook] = {}
    leave: dict[type, _Hook] = {}
    fields: dict[tuple[type, str], _Hook] = {}
    for base in reversed(kind.__mro__[: kind.__mro__.index(cst.CSTTransformer)]):
        for name, hook in vars(base).items():
            before, _, rest = name.partition("_")
            if before not in ("visit", "leave", "on"):
                continue
            title, _, field = rest.partition("_")
            node = getattr(cst, title, None)
            known = isinstance(node, type) and issubclass(node, cst.CSTNode) and node not in _layout()
            if not known or (field and (before != "visit" or field not in dict(_walked(node)))):
                if before == "on" or known or node is not None:
                    raise TypeError(f"{kind.__name__}.{name} is no hook that transform calls")
                continue
            node = cast("type[cst.CSTNode]", node)
            if field:
                fields[node, field] = hook
            else:
                (visit if before == "visit" else leave)[node] = hook
    return visit, leave, fields


@functools.cache
def _layout() -> frozenset[type]:
    """Nodes that are not walked."""
    names = "Comma Semicolon Dot AssignEqual Colon Asynchronous LeftParen RightParen LeftSquareBracket "
    names += "RightSquareBracket LeftCurlyBrace RightCurlyBrace EmptyLine TrailingWhitespace Newline Comment "
    names += "SimpleWhitespace ParenthesizedWhitespace"
    return frozenset(getattr(cst, name) for name in names.split())
