"""Questions about libcst nodes that pipeline rewrites ask."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import libcst as cst

from omniport.source.syntax import dotted
from omniport.source.walk import children as parts
from omniport.source.walk import of_kind, walk


@functools.lru_cache(maxsize=8192)
def named_calls(node: cst.CSTNode) -> tuple[tuple[str, cst.Call], ...]:
    """The calls below ``node`` whose function has a dotted name, with that name."""
    return tuple((name, call) for call in of_kind(node, cst.Call) if (name := dotted(call.func)) is not None)


def calls(node: cst.CSTNode, *names: str) -> list[cst.Call]:
    """Calls below ``node`` of a function with one of the dotted ``names``."""
    return [call for name, call in named_calls(node) if name in names]


@functools.lru_cache(maxsize=4096)
def method_calls(node: cst.CSTNode, owners: frozenset[str]) -> tuple[tuple[str, cst.Call], ...]:
    """Calls ``owner.method(...)`` below ``node``: (method, call), for each owner such as ``self``."""
    split = ((name.rpartition("."), call) for name, call in named_calls(node))
    return tuple((method, call) for (owner, _, method), call in split if owner in owners)


def attributes(node: cst.CSTNode, base: str = "self") -> dict[str, int]:
    """How often ``node`` reads each ``base.X`` (assigning to one is no read; calling one, or ``getattr``, is)."""
    return _attributes(node).get(base, {})


@functools.lru_cache(maxsize=4096)
def _attributes(node: cst.CSTNode) -> dict[str, dict[str, int]]:
    """The same for every base."""
    found: dict[str, dict[str, int]] = {}
    stores = set()
    for inner in walk(node):  # a target comes before what it holds
        kind = type(inner)
        if kind is cst.AssignTarget:
            stores.add(inner.target)  # type: ignore[attr-defined]
        elif kind is cst.Attribute and inner not in stores:
            base = dotted(inner.value)  # type: ignore[attr-defined]
            if base is not None:
                names = found.setdefault(base, {})
                name = inner.attr.value  # type: ignore[attr-defined]
                names[name] = names.get(name, 0) + 1
        elif kind is cst.Call and (by_name := _read_by_name(inner)) is not None:  # type: ignore[arg-type]
            names = found.setdefault(by_name[0], {})
            names[by_name[1]] = names.get(by_name[1], 0) + 1
    return found


def _read_by_name(call: cst.Call) -> tuple[str, str] | None:
    """Base and attribute of ``getattr(base, "X", ...)`` and of ``hasattr(base, "X")``."""
    if dotted(call.func) not in ("getattr", "hasattr") or len(call.args) < 2:
        return None
    base, name = dotted(call.args[0].value), call.args[1].value
    if base is None or type(name) is not cst.SimpleString:
        return None
    return base, str(name.evaluated_value)


def target_names(node: cst.CSTNode) -> set[str]:
    """Names that an assignment to ``node`` binds."""
    if type(node) is cst.Name:
        return {node.value}
    if type(node) is cst.Tuple or type(node) is cst.List:
        return set().union(*(target_names(e.value) for e in node.elements)) if node.elements else set()
    return set()


_COMPREHENSIONS = frozenset({cst.ListComp, cst.SetComp, cst.GeneratorExp, cst.DictComp})
_UNREAD = frozenset({cst.AsName, cst.Annotation, cst.Import, cst.ImportFrom})


def _loads(node: Any, own: frozenset[str], found: dict[str, None]) -> None:
    kind = type(node)
    if kind is cst.Name:
        if node.value not in own:
            found[node.value] = None
    elif kind is cst.Attribute or kind is cst.Arg:
        _loads(node.value, own, found)
    elif kind is cst.AssignTarget:
        _target(node.target, own, found)
    elif kind is cst.AnnAssign or kind is cst.NamedExpr:
        _target(node.target, own, found)
        if node.value is not None:
            _loads(node.value, own, found)
    elif kind is cst.For:
        _loads(node.iter, own, found)
        _target(node.target, own, found)
        for part in (node.body, node.orelse):
            if part is not None:
                _loads(part, own, found)
    elif kind in _COMPREHENSIONS:
        names: set[str] = set()
        loop: cst.CompFor | None = node.for_in
        while loop is not None:
            names |= target_names(loop.target)
            loop = loop.inner_for_in
        _each(parts(node), own | names, found)
    elif kind is cst.Lambda or kind is cst.FunctionDef:
        inner = {p.name.value for p in all_parameters(node.params)}
        if kind is cst.FunctionDef:
            inner |= {n for t in of_kind(node.body, cst.AssignTarget) for n in target_names(t.target)}
        _each((p.default for p in all_parameters(node.params) if p.default is not None), own, found)
        _loads(node.body, own | inner, found)
    elif kind not in _UNREAD:
        _each(parts(node), own, found)


def _each(nodes: Iterable[cst.CSTNode], own: frozenset[str], found: dict[str, None]) -> None:
    for node in nodes:
        if type(node) is cst.SimpleStatementLine and not own:
            found.update(reads_of(node))  # most lines are asked about on their own, too
        else:
            _loads(node, own, found)


def _target(node: cst.CSTNode, own: frozenset[str], found: dict[str, None]) -> None:
    if type(node) is cst.Tuple or type(node) is cst.List:
        for element in node.elements:
            _target(element.value, own, found)
    elif type(node) is not cst.Name:
        _loads(node, own, found)


@functools.lru_cache(maxsize=16384)
def reads_of(node: cst.CSTNode) -> dict[str, None]:
    """Names loaded anywhere in ``node``, in order of first appearance."""
    found: dict[str, None] = {}
    _loads(node, frozenset(), found)
    return found


def all_parameters(params: cst.Parameters) -> list[cst.Param]:
    """Every parameter, in the order of the signature."""
    found = [*params.posonly_params, *params.params]
    if isinstance(params.star_arg, cst.Param):
        found.append(params.star_arg)
    found.extend(params.kwonly_params)
    if params.star_kwarg is not None:
        found.append(params.star_kwarg)
    return found
