"""Rewriting of libcst trees that leaves alone what does not change.

``node.visit(transformer)`` of libcst makes every node anew and calls hooks for every token and blank.  Most rewrites
touch a few nodes of a class: :func:`transform` takes the same transformers, walks only what :mod:`omniport.source.walk`
walks, makes anew only what changed, and so keeps everything else the same object, for caches that go by the node.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

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
N = TypeVar("N", bound=cst.CSTNode)


def transform(node: cst.CSTNode, transformer: cst.CSTTransformer) -> Any:
    """What ``node.visit(transformer)`` returns, with every unchanged node itself in it.

    Hooks on layout (commas, brackets, blanks, comments), ``on_visit`` and ``on_leave`` are not supported.

    Raises:
        TypeError: the transformer has such a hook, or removes a node that must be there.
    """
    return _Walk(transformer, _steps(type(transformer))).node(node)


def replaced(node: N, choose: Callable[[cst.CSTNode], cst.CSTNode | None]) -> N:
    """``node`` with what ``choose`` gives in the place of nodes, outermost first; None leaves a node where it is.

    Layout is not asked about, as in :func:`transform`.
    """
    new = choose(node)
    if new is not None:
        return cast("N", new)
    changes: dict[str, Any] = {}
    for name, _ in _walked(type(node)):
        old = getattr(node, name)
        kind = type(old)
        if kind is tuple or kind is list:
            value = [replaced(item, choose) if IS_NODE[type(item)] else item for item in old]
            if any(map(operator.is_not, value, old)):
                changes[name] = value
        elif IS_NODE[kind] and (value := replaced(old, choose)) is not old:
            changes[name] = value
    return node.with_changes(**changes) if changes else node


def with_body(node: N, body: Sequence[cst.CSTNode]) -> N:
    """A statement that holds a block, with ``body`` in it; itself if these are the statements that it holds."""
    block: Any = node.body  # type: ignore[attr-defined]
    if len(body) == len(block.body) and all(map(operator.is_, body, block.body)):
        return node
    return node.with_changes(body=block.with_changes(body=body))


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """What is done with one kind of node."""

    visit: _Hook | None
    fields: tuple[tuple[str, Any, _Hook | None], ...]  # as of :func:`_walked`, with the hook before the field
    leave: _Hook | None


#: Nodes that statements stand in, and statements.
_STATEMENTS: frozenset[type] = frozenset(
    {cst.BaseStatement, cst.BaseSmallStatement, cst.BaseSuite, cst.Module, cst.Else, cst.Finally}
    | {cst.ExceptHandler, cst.ExceptStarHandler, cst.MatchCase}
)


def _holds_statements(kind: type) -> bool:
    return not _STATEMENTS.isdisjoint(kind.__mro__)


class _Steps(dict[type, _Step | None]):
    """What is done with each kind of node under one kind of transformer; None if it holds none and has no hooks."""

    def __init__(self, transformer: type[cst.CSTTransformer]) -> None:
        super().__init__()
        self.hooks = _hooks(transformer)
        visit, leave, fields = self.hooks
        before_field = frozenset(kind for kind, _ in fields)
        self.hooked = frozenset((*visit, *leave, *before_field))
        self.expressions = not all(map(_holds_statements, self.hooked))  # these hold no statements
        self.within_line = self.hooked - {cst.SimpleStatementLine} | before_field  # what is looked for in a line

    def __missing__(self, kind: type) -> _Step | None:
        visit, leave, fields = self.hooks
        walked = tuple((name, default, fields.get((kind, name))) for name, default in _walked(kind))
        reached = kind in self.hooked or walked and (self.expressions or _holds_statements(kind))
        step = _Step(visit.get(kind), walked, leave.get(kind)) if reached else None
        self[kind] = step
        return step


_steps = functools.cache(_Steps)


class _Walk:
    def __init__(self, transformer: cst.CSTTransformer, steps: _Steps) -> None:
        self.transformer, self.steps = transformer, steps
        self.hooked, self.within_line = steps.hooked, steps.within_line

    def node(self, node: cst.CSTNode) -> Any:
        step = self.steps[type(node)]
        if step is None or ((within := kinds(node)) is not None and self.hooked.isdisjoint(within)):
            return node
        new = node
        below = type(node) is not cst.SimpleStatementLine or within is None or not self.within_line.isdisjoint(within)
        if (step.visit is None or step.visit(self.transformer, node) is not False) and below:
            changes: dict[str, Any] | None = None
            for name, default, hook in step.fields:
                if hook is not None:
                    hook(self.transformer, node)
                old = getattr(node, name)
                if not old:
                    continue
                kind = type(old)
                if kind is tuple or kind is list:
                    value = self.sequence(old)
                elif IS_NODE[kind] and self.steps[kind] is not None:
                    value = self.single(old, default)
                else:
                    continue
                if value is not old:
                    changes = changes or {}
                    changes[name] = value
            if changes:
                new = node.with_changes(**changes)
        return new if step.leave is None else step.leave(self.transformer, node, new)

    def single(self, old: Any, default: Any) -> Any:
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
            known = isinstance(node, type) and cst.CSTNode in node.__mro__ and node not in _layout()
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
