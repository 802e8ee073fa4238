"""How the root's forward runs a list of blocks, and how cache-dit can take it: as one stack, or block by block."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Literal

from omniport.analyse.syntax import text
from omniport.records import dataclass
from omniport.source.nodes import each_node

Cache = Literal["", "stack", "blocks"]

HIDDEN, ENCODER = "hidden_states", "encoder_hidden_states"

#: cache-dit's forward patterns: (the second parameter is a stream, which streams come back) -> number.
#: Source: cache_dit.caching.forward_pattern.ForwardPattern.
PATTERNS: dict[tuple[bool, tuple[str, ...]], int] = {
    (True, ("first", "second")): 0,
    (True, ("second", "first")): 1,
    (True, ("first",)): 2,
    (False, ("first",)): 3,
    (False, ("first", "second")): 4,
    (False, ("second", "first")): 5,
}


@dataclass(frozen=True)
class Reading:
    """How a list is run.

    ``cache``: "stack" if one module may stand for the whole list, "blocks" if the forward gives every block something
    of its own, "" if neither fits, for ``reason``.  ``named``: the block's parameters have cache-dit's own names.
    ``streams`` are the variables that a block gives back.
    """

    cache: Cache
    pattern: int | None
    named: bool
    reason: str
    line: int
    streams: tuple[str, ...] = ()


def read_loops(root: ast.ClassDef, attribute: str, parameters: list[str] | None) -> Reading:
    """What the forward of ``root`` does with the list ``attribute``.

    Args:
        root: the class.
        attribute: the list's name.
        parameters: of the block's forward, without ``self``; None where the class is only imported.
    """
    forward = next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    tuples = {
        text(node.targets[0])
        for node in each_node(forward)
        if isinstance(node, ast.Assign) and any(isinstance(part, ast.Tuple) for part in _branches(node.value))
    }
    loops = _loops(forward, attribute)
    found = [_read_loop(loop, element, index, parameters, tuples) for loop, element, index in loops]
    if not found:
        return Reading("", None, False, "no loop of the forward runs it", forward.lineno)
    if unfit := next((reading for reading in found if not reading.cache), None):
        return unfit
    if len({(reading.pattern, reading.streams) for reading in found}) > 1:
        return Reading("", None, False, "two loops run it on different streams", found[1].line)
    other = _other_use(forward, attribute)
    if other is not None:
        return Reading("blocks", found[0].pattern, False, f"the forward reads {other[0]}", other[1])
    return next((reading for reading in found if reading.cache == "blocks"), found[0])


def _branches(value: ast.expr) -> list[ast.expr]:
    """What an expression may be: both branches of a condition."""
    return [*_branches(value.body), *_branches(value.orelse)] if isinstance(value, ast.IfExp) else [value]


def _loops(forward: ast.FunctionDef, attribute: str) -> Iterator[tuple[ast.For, str, str]]:
    """Loops over the list, with the names of the block and of its index ("" if it has none)."""
    aliases = {
        node.targets[0].id
        for node in each_node(forward)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and text(node.value) == f"self.{attribute}"
    }
    for node in each_node(forward):
        if isinstance(node, ast.For):
            for element, index in _elements(node.target, node.iter, {f"self.{attribute}", *aliases}):
                yield node, element, index


def _elements(target: ast.expr, source: ast.expr, names: set[str], index: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(source, ast.Call) and text(source.func) == "enumerate" and isinstance(target, ast.Tuple):
        counter, inner = target.elts
        yield from _elements(inner, source.args[0], names, text(counter))
    elif isinstance(source, ast.Call) and text(source.func) == "zip" and isinstance(target, ast.Tuple):
        for inner, item in zip(target.elts, source.args, strict=False):
            yield from _elements(inner, item, names, index or "zip")
    elif isinstance(target, ast.Name):
        whole = source.value if isinstance(source, ast.Subscript) else source
        if text(whole) in names:
            yield target.id, index or ("slice" if whole is not source else "")


def _read_loop(loop: ast.For, element: str, index: str, parameters: list[str] | None, tuples: set[str]) -> Reading:
    calls = [
        node
        for node in each_node(loop)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and text(node.value.func) == element
    ]
    line = calls[0].lineno if calls else loop.lineno
    mentions = sum(isinstance(n, ast.Name) and n.id == element for stmt in loop.body for n in each_node(stmt))
    if not calls or mentions != len(calls):
        return Reading("", None, False, f"{element} is used for more than calls that give back streams", line)
    streams = [_streams(call, parameters, tuples) for call in calls]
    first = streams[0]
    if isinstance(first, str):
        return Reading("", None, False, first, line)
    if any(other != first for other in streams):
        return Reading("", None, False, "its calls take or return different streams", line)
    pattern = PATTERNS[first.second, first.returned]
    own = _own_work(loop, calls[0], index) if len(calls) == 1 else "calls a block in two ways"
    targets = _targets(calls[0])
    back = f"a block gives back {', '.join(targets)}"
    if own or not first.in_order:
        what = f"the loop {own}" if own else "the streams are not the first parameters of a block"
        return Reading("blocks", pattern, False, f"{back}; {what}", line, targets)
    return Reading("stack", pattern, first.named, back, line, targets)


@dataclass(frozen=True)
class _Streams:
    """The streams of a block's call: whether its second argument is one, and which come back.

    ``in_order``: cache-dit may pass them as the first positional arguments.  ``named``: they have cache-dit's names.
    """

    second: bool
    returned: tuple[str, ...]
    in_order: bool
    named: bool


def _targets(call: ast.Assign) -> tuple[str, ...]:
    target = call.targets[0]
    return tuple(text(t) for t in (target.elts if isinstance(target, ast.Tuple) else [target]))


def _streams(call: ast.Assign, parameters: list[str] | None, tuples: set[str]) -> _Streams | str:
    """The streams, or why they are not known.  ``tuples`` are variables that may hold several tensors."""
    assert isinstance(call.value, ast.Call)
    targets = _targets(call)
    names = parameters or []
    bound = {names[i] if i < len(names) else f"#{i}": text(a) for i, a in enumerate(call.value.args)}
    by_name = {keyword.arg: text(keyword.value) for keyword in call.value.keywords if keyword.arg}
    bound |= by_name
    key = HIDDEN if HIDDEN in bound else next(iter(bound), "")
    if key in by_name and key != HIDDEN:
        return f"its stream is passed as {key}, not as {HIDDEN}"
    stream = bound.get(key, "")
    if stream not in targets or len(targets) > 2:
        return "what a block takes first is not what it gives back"
    returned = tuple("first" if name == stream else "second" for name in targets)
    leads = names[:1] == [key]
    if len(targets) == 1:
        second = leads and names[1:2] == [ENCODER] and bound.get(ENCODER, "") not in {"", *tuples}
        return _Streams(second, returned, leads, HIDDEN in names)
    if key != HIDDEN:
        return f"neither of its two streams is called {HIDDEN}: which of them is denoised is not known"
    other = targets[1 - targets.index(stream)]
    place = next((name for name, value in bound.items() if value == other and name != key), None)
    in_order = leads and (place is None or (names[1:2] == [place] and (place not in by_name or place == ENCODER)))
    return _Streams(place is not None, returned, in_order, place in (None, ENCODER))


def _own_work(loop: ast.For, call: ast.Assign, index: str) -> str:
    """What keeps one module from standing for the list: work of the loop that differs from block to block."""
    if index in ("zip", "slice"):
        return "runs a part of the list" if index == "slice" else "runs two lists side by side"
    if call not in loop.body:
        return "calls a block under a condition"
    assigned = {n.id for n in each_node(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for statement in loop.body:
        read = {n.id for n in each_node(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        if index and index in read:
            return f"gives every block something by {index}"
        if statement is not call and (not isinstance(statement, ast.Assign) or read & assigned):
            return "does more than to call a block"
    return ""


def _other_use(forward: ast.FunctionDef, attribute: str) -> tuple[str, int] | None:
    """A use of the list outside its loops that one module in its place would change: a length, a part of a block."""
    harmless = {n.left for n in each_node(forward) if isinstance(n, ast.Compare) and text(n).endswith(") > 0")}
    for node in each_node(forward):
        if node in harmless:
            continue
        if isinstance(node, ast.Call) and text(node) == f"len(self.{attribute})":
            return text(node), node.lineno
        if (
            isinstance(node, ast.Subscript)
            and not isinstance(node.slice, ast.Slice)
            and text(node.value) == f"self.{attribute}"
        ):
            return text(node), node.lineno
    return None
