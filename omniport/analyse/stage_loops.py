"""The loops of a forward over lists of blocks that stages share: what goes from one block to the next, and what happens
between the lists.

A forward is read as straight lines of statements: one, or one for each branch of a condition that runs the blocks
either way. The same reading is made of the reference, to decide, and of the finished port, to write.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from omniport.analyse.stage_names import (
    assigned,
    calls_of,
    given_by_blocks,
    live_before,
    made_anew,
    numbers,
    reads_numbers,
    stored,
)
from omniport.records import dataclass
from omniport.source.nodes import each_node

#: Where a statement stands: its place in the body, then for a branch its name and the place in that.
Path = tuple[int | str, ...]
Line = list[tuple[Path, ast.stmt]]

_LEAVES = ast.Break | ast.Continue | ast.Return | ast.Yield | ast.YieldFrom


class NotPlain(Exception):
    """What keeps the blocks whole, and the line of the code."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


@dataclass(frozen=True)
class Loop:
    """A loop over a list of blocks, or over several side by side.

    ``counted`` names the block's place where the forward counts the blocks. ``again`` are statements that a later stage
    runs for each block of the stages before, so that ``wanted`` is what it would be. ``counter`` is the one variable
    that these add one to.
    """

    path: Path
    node: ast.For
    lists: tuple[str, ...]
    blocks: frozenset[str]
    counted: str
    wanted: frozenset[str] = frozenset()
    again: tuple[ast.stmt, ...] = ()
    counter: str = ""


@dataclass(frozen=True)
class Phase:
    """Loops that hand on the same ``streams``; ``ahead`` are the statements in front that the stage of its first block
    runs alone, by their places."""

    loops: tuple[Loop, ...]
    streams: tuple[str, ...]
    ahead: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Run:
    """The blocks that stages share, along one straight line.

    ``whole`` are lists that every stage runs first; ``read`` are names that blocks and what is between them are made
    from; ``front`` the statements before.
    """

    phases: tuple[Phase, ...]
    whole: tuple[str, ...]
    read: frozenset[str]
    front: tuple[ast.stmt, ...]

    @property
    def loops(self) -> list[Loop]:
        return [loop for phase in self.phases for loop in phase.loops]

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.streams))


def read_runs(forward: ast.FunctionDef, lists: list[str], few: Callable[[list[str], list[str]], bool]) -> list[Run]:
    """How ``forward`` runs its ``lists`` of blocks, along each straight line.

    Args:
        few: whether the first lists are short beside the others, so that every stage may run them.

    Raises:
        NotPlain: stages cannot share the blocks.
    """
    parameters = {arg.arg for arg in [*forward.args.args, *forward.args.kwonlyargs]}
    runs = [_run(line, lists, parameters, few) for line in _lines(forward.body, (), lists)]
    first = runs[0]
    for run in runs[1:]:
        same = [loop.lists for loop in run.loops] == [loop.lists for loop in first.loops]
        if not same or run.streams != first.streams or run.whole != first.whole:
            raise NotPlain("a condition chooses how the blocks are run", run.loops[0].node.lineno)
    return runs


def over(node: ast.AST, lists: list[str]) -> list[str]:
    """The lists of blocks that loops within ``node`` run over."""
    loops = [part.iter for part in each_node(node) if isinstance(part, ast.For)]
    return [n.attr for loop in loops for n in each_node(loop) if isinstance(n, ast.Attribute) and n.attr in lists]


def _lines(body: list[ast.stmt], path: Path, lists: list[str]) -> list[Line]:
    """The straight lines through ``body``; those of a condition are followed where it runs the last blocks."""
    last = max((at for at, node in enumerate(body) if over(node, lists)), default=-1)
    lines: list[Line] = [[]]
    for at, node in enumerate(body):
        place = (*path, at)
        inner: list[Line] = [[(place, node)]]
        if isinstance(node, ast.If) and over(node, lists):
            ways = [way for way in ("body", "orelse") if any(over(part, lists) for part in getattr(node, way))]
            if len(ways) == 2 and at == last:
                inner = [found for way in ways for found in _lines(getattr(node, way), (*place, way), lists)]
            elif _if_any(node, lists):
                inner = _lines(node.body, (*place, "body"), lists)
        lines = [[*line, *more] for line in lines for more in inner]
    return lines


def _if_any(node: ast.If, lists: list[str]) -> bool:
    """Whether a condition asks alone whether the list that it runs has blocks."""
    run = over(node, lists)
    return len(run) == 1 and not node.orelse and ast.unparse(node.test) == f"len(self.{run[0]}) > 0"


def _run(line: Line, lists: list[str], parameters: set[str], few: Callable[[list[str], list[str]], bool]) -> Run:
    places = [at for at, (_, node) in enumerate(line) if over(node, lists)]
    if not places:
        raise NotPlain("no loop of the forward's own statements runs a list of blocks", line[0][1].lineno)
    start = places[-1]
    for at in reversed(places[:-1]):  # lists right in front are run with the last one
        if at != start - 1:
            break
        start = at
    while places[0] < start and not few(_all(line[:start], lists), _all(line[start:], lists)):
        start = max(at for at in places if at < start)
    body = line[start : places[-1] + 1]
    loops = {path: _loop(path, node, lists) for path, node in body if over(node, lists)}
    run = [name for loop in loops.values() for name in loop.lists]
    whole = _all(line[:start], lists)
    if len(set(run)) < len(run) or set(run) & set(whole):
        raise NotPlain("a list of blocks is run twice", body[0][1].lineno)
    given = given_by_blocks(
        [(loops[path].node.body, set(loops[path].blocks)) if path in loops else ([node], set()) for path, node in body]
    )
    bound = parameters | assigned(node for _, node in line[:start])
    changed: set[str] = set()
    phases: list[Phase] = []
    ahead: list[tuple[Path, ast.stmt]] = []
    for at, (path, node) in enumerate(body):
        if path not in loops:
            changed |= stored([node])
            ahead += [(path, node)] if ahead or stored([node]) & given else []
            continue
        loop = loops[path]
        changed |= stored(loop.node.body)
        rest = [later for _, later in line[start + at :]]
        carried = (live_before(rest, frozenset()) - assigned([loop.node.target])) & changed
        loop = _counting(loop, carried - given)
        sent = carried & given & live_before(rest, frozenset(), reads_numbers)
        if lost := carried & given - sent - bound:
            raise NotPlain(f"{', '.join(sorted(lost))} is not there before the first block", node.lineno)
        last = phases.pop() if phases and not ahead else Phase((), (), _one_piece(ahead, given))
        streams = dict.fromkeys([*last.streams, *sorted(sent)])
        phases.append(Phase((*last.loops, loop), tuple(streams), last.ahead))
        ahead = []
    order = [name for loop in loops.values() for name in _given(loop)]
    phases = [Phase(p.loops, tuple(sorted(p.streams, key=_place(order))), p.ahead) for p in phases]
    for phase in phases:
        _tensors(phase, order, bound)
        bound |= stored(node for _, node in body)
    own = {name for phase in phases for name in phase.streams} | assigned(loop.node.target for loop in loops.values())
    read = frozenset(name for _, node in body for name in numbers(node)) - own
    return Run(tuple(phases), tuple(whole), read, tuple(node for _, node in line[:start]))


def _all(line: Line, lists: list[str]) -> list[str]:
    return [name for _, node in line for name in over(node, lists)]


def _place(order: list[str]) -> Callable[[str], tuple[int, str]]:
    return lambda name: (order.index(name) if name in order else len(order), name)


def _loop(path: Path, node: ast.stmt, lists: list[str]) -> Loop:
    """The loop that a statement is.

    Raises:
        NotPlain: it is none, or it leaves its blocks early, or calls none of them.
    """
    if not isinstance(node, ast.For):
        raise NotPlain("a list of blocks is run under a condition", node.lineno)
    counted, target, runs = "", node.target, node.iter
    if isinstance(runs, ast.Call) and ast.unparse(runs.func) == "enumerate" and len(runs.args) == 1:
        if not (isinstance(target, ast.Tuple) and isinstance(target.elts[0], ast.Name) and not runs.keywords):
            raise NotPlain("a loop counts its blocks from another number than 0", node.lineno)
        counted, target, runs = target.elts[0].id, target.elts[1], runs.args[0]
    beside = isinstance(runs, ast.Call) and ast.unparse(runs.func) == "zip" and not runs.keywords
    items = runs.args if isinstance(runs, ast.Call) and beside else [runs]
    names = target.elts if beside and isinstance(target, ast.Tuple) else [target]
    of_root = [item.attr for item in items if isinstance(item, ast.Attribute) and ast.unparse(item.value) == "self"]
    blocks = [name.id for name in names if isinstance(name, ast.Name)]
    if len(of_root) < len(items) or len(blocks) != len(items) or not set(of_root) <= set(lists):
        raise NotPlain(f"a loop runs {ast.unparse(node.iter)}: which blocks these are is not known", node.lineno)
    found = Loop(path, node, tuple(of_root), frozenset(blocks), counted)
    if node.orelse or any(isinstance(part, _LEAVES) for line in node.body for part in each_node(line)):
        raise NotPlain("a loop is left before its last block", node.lineno)
    if not all(calls_of(node, {name}) for name in blocks):
        raise NotPlain("a loop does not call its block", node.lineno)
    uses = sum(isinstance(n, ast.Name) and n.id in blocks for line in node.body for n in each_node(line))
    if uses > len(calls_of(node, set(blocks))):
        raise NotPlain("a loop does more with a block than to call it", node.body[0].lineno)
    return found


def _given(loop: Loop) -> list[str]:
    """What the blocks of a loop give back, in their order."""
    found = []
    for node in (part for line in loop.node.body for part in each_node(line)):
        if isinstance(node, ast.Assign) and _is_given(node.value, set(loop.blocks)):
            target = node.targets[0]
            items = target.elts if isinstance(target, ast.Tuple) else [target]
            found += [item.id for item in items if isinstance(item, ast.Name)]
    return found


def _is_given(value: ast.expr, blocks: set[str]) -> bool:
    """Whether a value is what a block gives, or that and something more."""
    if isinstance(value, ast.BinOp):
        return _is_given(value.left, blocks) or _is_given(value.right, blocks)
    return value in calls_of(value, blocks)


def _counting(loop: Loop, wanted: frozenset[str]) -> Loop:
    """The loop with what a later stage does for each earlier block, so that ``wanted`` is what it would be."""
    wanted &= stored(loop.node.body)
    if not wanted:
        return loop
    again = made_anew(loop.node.body, wanted)
    if any(isinstance(n, ast.Name) and n.id in loop.blocks for line in again for n in each_node(line)):
        raise NotPlain(f"{', '.join(sorted(wanted))} is made from the blocks themselves", loop.node.lineno)
    counter = next(iter(wanted)) if len(wanted) == 1 else ""
    once = len(again) == 1 and counter and ast.unparse(again[0]) == f"{counter} += 1"
    return replace(loop, wanted=frozenset(wanted), again=tuple(again), counter=counter if once else "")


def _one_piece(ahead: list[tuple[Path, ast.stmt]], given: set[str]) -> tuple[Path, ...]:
    """The statements in front of a list that change what blocks gave, which must follow one another.

    Raises:
        NotPlain: others that every stage needs are between them.
    """
    while ahead and not stored([ahead[-1][1]]) & given:
        ahead = ahead[:-1]
    for _, node in ahead:
        if not stored([node]) <= given:
            raise NotPlain("what is made of the streams between two lists is mixed with other values", node.lineno)
    return tuple(path for path, _ in ahead)


def _tensors(phase: Phase, given: list[str], bound: set[str]) -> None:
    """What a phase hands on are tensors, bound wherever a stage may end.

    Raises:
        NotPlain: a list of tensors, say, or what only some blocks give.
    """
    line = phase.loops[0].node.lineno
    for name in phase.streams:
        if name not in given:
            raise NotPlain(f"{name} holds what several blocks gave: it is no tensor that a stage could hand on", line)
        if phase.ahead == () and name not in bound:
            raise NotPlain(f"{name} is not there before the first block", line)
    if not phase.streams:
        raise NotPlain("what a block gives back is not what it takes", line)
