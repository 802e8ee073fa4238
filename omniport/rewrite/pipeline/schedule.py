"""Where the times of the steps come from, and which names hold one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, small_bound, statements, suite
from omniport.rewrite.pipeline.walk import target_names
from omniport.source.syntax import dotted
from omniport.source.walk import of_kind

_SCHEDULER = "self.scheduler.timesteps"
AROUND = frozenset({"enumerate", "self.progress_bar"})
#: Functions of the reference that return the scheduler's timesteps first.
MAKERS = frozenset({"retrieve_timesteps", "self.get_timesteps"})


def with_diffuse(
    methods: Sequence[cst.FunctionDef], change: Callable[[cst.FunctionDef, cst.FunctionDef], cst.FunctionDef]
) -> list[cst.FunctionDef]:
    """The methods of a pipeline, its ``diffuse`` as ``change`` makes it of that and of ``forward``."""
    named = {m.name.value: m for m in methods}
    diffuse, entry = named.get("diffuse"), named.get("forward")
    if diffuse is None or entry is None:
        return list(methods)
    new = change(diffuse, entry)
    return [new if m is diffuse else m for m in methods]


def schedules(diffuse: cst.FunctionDef, entry: cst.FunctionDef) -> set[str]:
    """What ``diffuse`` calls the tensor of the scheduler's timesteps."""
    own = _is_schedule(entry) and not _binds(diffuse, "timesteps")
    return {_SCHEDULER, "timesteps"} if own else {_SCHEDULER}


def _is_schedule(entry: cst.FunctionDef) -> bool:
    """Whether ``timesteps`` is the scheduler's tensor where ``forward`` calls ``diffuse``."""
    block = suite(entry.body)
    for index, node in enumerate(block):
        small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
        if isinstance(small, cst.Assign) and any(dotted(c.func) == "self.diffuse" for c in of_kind(small, cst.Call)):
            return holds_schedule(block[:index])
    return False


def holds_schedule(block: Block, before: bool = False) -> bool:
    """Whether ``timesteps`` is the scheduler's tensor after a block, if it was ``before``."""
    for node in block:
        if not any("timesteps" in small_bound(s) for line in _lines([node]) for s in line.body):
            continue
        if isinstance(node, cst.If):
            before = _holds_after(node, before)
        else:
            small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
            before = isinstance(small, cst.Assign) and len(small.targets) == 1 and _from_scheduler(small)
    return before


def _holds_after(node: cst.If, before: bool) -> bool:
    """The same after a condition: of all its branches."""
    other = before
    if isinstance(node.orelse, cst.If):
        other = _holds_after(node.orelse, before)
    elif node.orelse is not None:
        other = holds_schedule(suite(node.orelse.body), before)
    return other and holds_schedule(suite(node.body), before)


def _from_scheduler(line: cst.Assign) -> bool:
    target, value = line.targets[0].target, line.value
    if isinstance(target, cst.Name):
        return dotted(value) == _SCHEDULER
    first = target.elements[0].value if isinstance(target, cst.Tuple) else None
    return dotted(first) == "timesteps" and isinstance(value, cst.Call) and dotted(value.func) in MAKERS  # type: ignore[arg-type]


def _lines(block: Block) -> list[cst.SimpleStatementLine]:
    return [node for node in statements(block) if isinstance(node, cst.SimpleStatementLine)]


def _binds(function: cst.FunctionDef, name: str) -> bool:
    return any(name in small_bound(s) for line in _lines(suite(function.body)) for s in line.body)


def times(diffuse: cst.FunctionDef, known: set[str]) -> set[str]:
    """Names that hold one element of the timesteps wherever they are read: the loop's own, and ``x = timesteps[i]``."""
    bindings: dict[str, list[cst.CSTNode | None]] = {}
    for node in statements(suite(diffuse.body)):
        if isinstance(node, cst.For):
            names = target_names(node.target)
            own = element(node, known)
            for name in names:
                bindings.setdefault(name, []).append(node if name == own else None)
        elif isinstance(node, cst.SimpleStatementLine):
            for small in node.body:
                plain = isinstance(small, cst.Assign) and len(small.targets) == 1
                for name in small_bound(small):
                    value = small.value if plain and dotted(small.targets[0].target) == name else None  # type: ignore[attr-defined]
                    one = isinstance(value, cst.Subscript) and dotted(value.value) in known and _is_index(value)
                    bindings.setdefault(name, []).append(value if one else None)
    return {name for name, found in bindings.items() if None not in found}


def element(node: cst.For, known: set[str]) -> str:
    """The name that a loop over the timesteps gives each of them."""
    over: cst.BaseExpression = node.iter
    counted = False
    while isinstance(over, cst.Call) and dotted(over.func) in AROUND and len(over.args) == 1:
        counted |= dotted(over.func) == "enumerate"
        over = over.args[0].value
    if dotted(over) not in known:
        return ""
    target = node.target
    if counted:
        return (dotted(target.elements[1].value) or "") if isinstance(target, cst.Tuple) else ""
    return dotted(target) or ""


def _is_index(node: cst.Subscript) -> bool:
    return len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Index)
