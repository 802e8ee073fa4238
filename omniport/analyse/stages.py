"""Pipeline parallelism of a transformer: whether its blocks are one plain run that ranks can take a part of each.

All stages compute what stands in front of the blocks, from inputs that every rank has; a later one replaces the
streams by those it is sent, and the last one goes on behind the blocks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.analyse.blocks import default_length
from omniport.plan.model import STAGES, BlockListPlan, FeaturePlan, PipelinePlan, StagedList, StagesPlan, Why
from omniport.source.normal import NormalForm

NAME = "pipeline parallelism"

#: Blocks that every stage runs are at most one for so many that stages share.
FEW = 6

#: What of a tensor does not depend on its numbers.
_FORM = {"shape", "dtype", "device", "ndim", "size", "dim"}


class _NotPlain(Exception):
    """What keeps the blocks whole, and the line of the normal form."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


def plan_stages(normal: NormalForm, blocks: tuple[BlockListPlan, ...]) -> tuple[StagesPlan | None, FeaturePlan]:
    """How stages share the blocks of ``normal``, None where they cannot, and what the port declares about it."""
    root = next(node for node in normal.tree.body if isinstance(node, ast.ClassDef) and node.name == normal.root)
    try:
        plan = _plan(normal, root, [block.attribute for block in blocks])
    except _NotPlain as found:
        origin = normal.origin(found.line)
        return None, FeaturePlan(NAME, False, Why(found.reason, origin.file, origin.line))
    return plan, FeaturePlan(NAME, True, plan.why)


def staged_features(features: tuple[FeaturePlan, ...], pipeline: PipelinePlan) -> tuple[FeaturePlan, ...]:
    """The features of a transformer whose blocks stages cannot share because of the pipeline's loop."""
    loop = next(decision for decision in pipeline.decisions if decision.subject == STAGES)
    return tuple(
        FeaturePlan(NAME, False, loop.why) if feature.name == NAME and feature.supported and not loop.value else feature
        for feature in features
    )


def _plan(normal: NormalForm, root: ast.ClassDef, lists: list[str]) -> StagesPlan:
    forward, init = _function(root, "forward"), _function(root, "__init__")
    loops = {at: name for at, statement in enumerate(forward.body) if (name := _over(statement, lists))}
    if not loops:
        raise _NotPlain("no loop of the forward's own statements runs a list of blocks", forward.lineno)
    last = max(loops)
    first = last
    while first - 1 in loops:
        first -= 1
    group = {loops[at]: forward.body[at] for at in range(first, last + 1)}
    if len(group) < last + 1 - first:
        raise _NotPlain("a list of blocks is run twice", forward.body[first].lineno)
    streams = [_streams(statement) for statement in group.values()]
    if any(set(names) != set(streams[0]) for names in streams):
        raise _NotPlain(f"its lists run on different streams: {', '.join(streams[0])}", forward.body[last].lineno)
    for name in group:
        _used_once(root, name)
    staged = tuple(StagedList(name, _length(init, name)) for name in group)
    whole = [name for at, name in loops.items() if at < first]
    if whole and not _few(init, whole, list(group)):
        raise _NotPlain(
            f"the forward does more between {whole[-1]} and {next(iter(group))}", forward.body[first].lineno
        )
    origin = normal.origin(forward.body[first].lineno)
    reason = f"{', '.join(group)}: every block takes and gives {', '.join(streams[0])}"
    reason += f"; every stage runs {', '.join(whole)}" if whole else ""
    why = Why(reason, origin.file, origin.line)
    changed = _changed_by(forward.body[:first], forward.args.args[1].arg)
    given = {name for statement in group.values() for name in _arguments(statement)} - set(streams[0])
    return StagesPlan(staged, tuple(streams[0]), tuple(sorted(given & changed)), why)


def _function(root: ast.ClassDef, name: str) -> ast.FunctionDef:
    return next(node for node in root.body if isinstance(node, ast.FunctionDef) and node.name == name)


def _over(statement: ast.stmt, lists: list[str]) -> str:
    """The list of blocks that a statement is a loop over, also within; "" for any other."""
    for node in ast.walk(statement):
        if isinstance(node, ast.For):
            found = [n.attr for n in ast.walk(node.iter) if isinstance(n, ast.Attribute) and n.attr in lists]
            if found:
                return found[0]
    return ""


def _streams(statement: ast.stmt) -> list[str]:
    """What each block of a loop takes and gives back.

    Raises:
        _NotPlain: the loop does anything else.
    """
    if not isinstance(statement, ast.For):
        raise _NotPlain("a list of blocks is run under a condition", statement.lineno)
    if not (isinstance(statement.iter, ast.Attribute) and isinstance(statement.target, ast.Name)):
        raise _NotPlain(f"a loop runs {ast.unparse(statement.iter)}: blocks are given their place", statement.lineno)
    body = statement.body[0]
    if len(statement.body) > 1 or not (isinstance(body, ast.Assign) and isinstance(body.value, ast.Call)):
        raise _NotPlain("a loop does more than to call a block", body.lineno)
    target = body.targets[0]
    names = [t.id for t in (target.elts if isinstance(target, ast.Tuple) else [target]) if isinstance(t, ast.Name)]
    if ast.unparse(body.value.func) != statement.target.id or not names or "_" in names:
        raise _NotPlain("a loop does more than to call a block", body.lineno)
    if not set(names) <= set(_arguments(statement)):
        raise _NotPlain("what a block gives back is not what it takes", body.lineno)
    return names


def _arguments(statement: ast.stmt) -> list[str]:
    """Names that the call of a block is given."""
    return [
        node.id
        for call in ast.walk(statement)
        if isinstance(call, ast.Call)
        for value in [*call.args, *(keyword.value for keyword in call.keywords)]
        for node in ast.walk(value)
        if isinstance(node, ast.Name)
    ]


def _used_once(root: ast.ClassDef, name: str) -> None:
    """A list is assigned and run: a block that is read elsewhere may be another rank's.

    Raises:
        _NotPlain: it is read elsewhere.
    """
    uses = [node for node in ast.walk(root) if isinstance(node, ast.Attribute) and node.attr == name]
    loads = [node for node in uses if isinstance(node.ctx, ast.Load)]
    if len(loads) > 1 or len(uses) - len(loads) > 1:
        raise _NotPlain(f"{name} is read outside its loop", loads[0].lineno)


def _length(init: ast.FunctionDef, name: str) -> str:
    """How many blocks a list has, in the constructor's words.

    Raises:
        _NotPlain: it is not made by one comprehension over numbers.
    """
    for statement in init.body:
        if not (isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == f"self.{name}"):
            continue
        value = statement.value
        made = value.args[0] if isinstance(value, ast.Call) and len(value.args) == 1 else None
        if not (isinstance(made, ast.ListComp) and len(made.generators) == 1 and isinstance(made.elt, ast.Call)):
            break
        numbers = made.generators[0]
        counted = isinstance(numbers.iter, ast.Call) and ast.unparse(numbers.iter.func) == "range"
        if not counted or numbers.ifs or len(numbers.iter.args) != 1:  # type: ignore[attr-defined]
            break
        length: ast.expr = numbers.iter.args[0]  # type: ignore[attr-defined]
        own = {arg.arg for arg in [*init.args.args, *init.args.kwonlyargs]}
        if not {node.id for node in ast.walk(length) if isinstance(node, ast.Name)} <= own:
            break
        return ast.unparse(length)
    raise _NotPlain(f"{name} is not made by one comprehension over a number of the constructor", init.lineno)


def _few(init: ast.FunctionDef, whole: list[str], shared: list[str]) -> bool:
    """Whether the lists that every stage runs are short beside those that stages share, as the defaults make them."""
    lengths = {name: default_length(init, name) for name in [*whole, *shared]}
    known = {name: length for name, length in lengths.items() if length is not None}
    several = known.keys() >= set(lengths)
    return several and sum(known[n] for n in whole) * FEW <= sum(known[n] for n in shared)


def _changed_by(body: list[ast.stmt], latents: str) -> set[str]:
    """Locals whose numbers may depend on those of ``latents``, which stages in the middle do not have anew."""
    found = {latents}
    for statement in body:
        if found & set(_numbers(statement)):  # of a compound one everything within counts as one
            found |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _numbers(node: ast.AST) -> Iterator[str]:
    """Names that are read for more than their form."""
    if isinstance(node, ast.Attribute) and node.attr in _FORM and isinstance(node.value, ast.Name):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _numbers(child)
