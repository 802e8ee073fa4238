"""Pipeline parallelism of a transformer: whether its blocks are one plain run that ranks can take a part of each.

All stages compute what stands in front of the blocks, from inputs that every rank has; a later one replaces the
streams by those it is sent, and the last one goes on behind the blocks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from omniport.analyse.blocks import default_length
from omniport.analyse.stage_loops import NotPlain, Run, read_runs
from omniport.analyse.stage_names import numbers, stored
from omniport.plan.model import (
    BlockListPlan,
    FeaturePlan,
    PipelinePlan,
    StagedList,
    StagesPlan,
    Why,
)
from omniport.plan.subjects import STAGES
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm

NAME = "pipeline parallelism"

#: Blocks that every stage runs are at most one for so many that stages share.
FEW = 5


def plan_stages(normal: NormalForm, blocks: tuple[BlockListPlan, ...]) -> tuple[StagesPlan | None, FeaturePlan]:
    """How stages share the blocks of ``normal``, None where they cannot, and what the port declares about it."""
    root = next(node for node in normal.tree.body if isinstance(node, ast.ClassDef) and node.name == normal.root)
    try:
        plan = _plan(normal, root, [block.attribute for block in blocks])
    except NotPlain as found:
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
    runs = read_runs(forward, lists, lambda whole, shared: _few(init, whole, shared))
    run = runs[0]
    shared = [name for loop in run.loops for name in loop.lists]
    within = {name for loop in run.loops for line in loop.node.body for name in lists if _read_in(line, name)}
    for name in lists:
        if name not in {*shared, *run.whole, *within} and _read_in(forward, name) and _many(init, name, shared):
            raise NotPlain(f"{name} is run otherwise than by a loop over it", _read_in(forward, name)[0].lineno)
    for name in shared:
        _used_once(root, name, sum(name in loop.lists for each in runs for loop in each.loops))
    staged = tuple(StagedList(name, _length(init, name)) for name in shared)
    for loop in run.loops:
        if len({item.length for item in staged if item.attribute in loop.lists}) > 1:
            raise NotPlain(f"{', '.join(loop.lists)} are run side by side, and made in other numbers", init.lineno)
    why = Why(_reason(run), *_place(normal, run.loops[0].node.lineno))
    changed = {name for each in runs for name in _changed_by(each.front, forward.args.args[1].arg)}
    read = {name for each in runs for name in each.read}
    return StagesPlan(staged, run.streams, tuple(sorted(read & changed)), why)


def _reason(run: Run) -> str:
    """What the plan says of a run."""
    first, *others = run.phases
    lists = ", ".join(name for loop in first.loops for name in loop.lists)
    plain = all(len(loop.node.body) == 1 and not loop.counted for loop in run.loops)
    reason = f"{lists}: every block takes and gives " if plain else f"{lists}: from block to block goes "
    reason += ", ".join(first.streams)
    for phase in others:
        names = ", ".join(name for loop in phase.loops for name in loop.lists)
        reason += f"; in {names}, {', '.join(phase.streams)}, made by the stage of its first block"
    if again := [name for loop in run.loops for name in sorted(loop.wanted)]:
        reason += f"; a later stage makes {', '.join(dict.fromkeys(again))} anew"
    return reason + (f"; every stage runs {', '.join(run.whole)}" if run.whole else "")


def _place(normal: NormalForm, line: int) -> tuple[str, int]:
    origin = normal.origin(line)
    return origin.file, origin.line


def _read_in(node: ast.AST, name: str) -> list[ast.Attribute]:
    return [part for part in each_node(node) if isinstance(part, ast.Attribute) and part.attr == name]


def _function(root: ast.ClassDef, name: str) -> ast.FunctionDef:
    return next(node for node in root.body if isinstance(node, ast.FunctionDef) and node.name == name)


def _used_once(root: ast.ClassDef, name: str, loops: int) -> None:
    """A list is assigned, run and counted: a block that is read elsewhere may be another rank's.

    Raises:
        NotPlain: it is read elsewhere.
    """
    counted = {n.args[0] for n in each_node(root) if isinstance(n, ast.Call) and ast.unparse(n.func) == "len"}
    run = {part for n in each_node(root) if isinstance(n, ast.For) for part in each_node(n.iter)}
    uses = [n for n in _read_in(root, name) if n not in counted and isinstance(n.ctx, ast.Load)]
    if len(uses) > loops:
        found = next((n for n in uses if n not in run), uses[0])
        raise NotPlain(f"{name} is read outside its loop: another stage may hold the block", found.lineno)


def _length(init: ast.FunctionDef, name: str) -> str:
    """How many blocks a list has, in the constructor's words.

    Raises:
        NotPlain: it is not made by comprehensions over one number.
    """
    made = [
        node.value
        for node in each_node(init)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"self.{name}"
    ]
    own = {arg.arg for arg in [*init.args.args, *init.args.kwonlyargs]}
    lengths = {_made_length(value, own) for value in made}
    length = lengths.pop() if len(lengths) == 1 else None
    if length is None:
        raise NotPlain(f"{name} is not made by one comprehension over a number of the constructor", init.lineno)
    return length


def _made_length(value: ast.expr, own: set[str]) -> str | None:
    made = value.args[0] if isinstance(value, ast.Call) and len(value.args) == 1 else None
    if not (isinstance(made, ast.ListComp) and len(made.generators) == 1 and isinstance(made.elt, ast.Call)):
        return None
    numbers = made.generators[0]
    counted = isinstance(numbers.iter, ast.Call) and ast.unparse(numbers.iter.func) == "range"
    if not counted or numbers.ifs or len(numbers.iter.args) != 1:  # type: ignore[attr-defined]
        return None
    length: ast.expr = numbers.iter.args[0]  # type: ignore[attr-defined]
    named = {node.id for node in ast.walk(length) if isinstance(node, ast.Name)}
    return ast.unparse(length) if named <= own else None


def _few(init: ast.FunctionDef, whole: list[str], shared: list[str]) -> bool:
    """Whether the lists that every stage runs are short beside those that stages share, as the defaults make them."""
    lengths = {name: default_length(init, name) for name in [*whole, *shared]}
    known = {name: length for name, length in lengths.items() if length is not None}
    several = known.keys() >= set(lengths)
    return several and sum(known[n] for n in whole) * FEW <= sum(known[n] for n in shared)


def _many(init: ast.FunctionDef, name: str, shared: list[str]) -> bool:
    """Whether a list is known to be long beside those that stages share."""
    return default_length(init, name) is not None and not _few(init, [name], shared)


def _changed_by(body: Iterable[ast.stmt], latents: str) -> set[str]:
    """Locals whose numbers may depend on those of ``latents``, which stages in the middle do not have anew."""
    found = {latents}
    for statement in body:
        if found & set(numbers(statement)):  # of a compound one everything within counts as one
            found |= stored([statement])
    return found
