"""The forward of a root whose blocks stages share: each runs its own on what it is sent and hands on what they give."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import libcst as cst

from omniport.analyse.stage_loops import Loop, NotPlain, Path, Phase, Run, read_runs
from omniport.errors import UnsupportedError
from omniport.plan.model import StagesPlan
from omniport.rewrite.layers import parameter
from omniport.rewrite.syntax import code, expression, statements

RECEIVED = "intermediate_tensors"


def read_finished(forward: cst.FunctionDef, plan: StagesPlan, cls: str) -> list[Run]:
    """How the finished ``forward`` runs the blocks: as the plan says.

    Raises:
        UnsupportedError: it does not.
    """
    tree = ast.parse(code(cst.Module([forward.with_changes(leading_lines=[])])))
    lists = [item.attribute for item in plan.lists]
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    try:
        runs = read_runs(function, lists, lambda whole, shared: False)
    except NotPlain as found:
        raise UnsupportedError(f"the forward of {cls}: {found.reason}") from found
    if [name for loop in runs[0].loops for name in loop.lists] != lists or set(runs[0].streams) != set(plan.streams):
        raise UnsupportedError(f"the forward of {cls} does not run {', '.join(lists)} one after the other")
    return runs


def share_forward(forward: cst.FunctionDef, runs: list[Run], cls: str) -> cst.FunctionDef:
    """``forward``, read as ``runs``, for one stage."""
    changes: dict[Path, _Change] = {}
    for run in runs:
        _plan_changes(run, changes)
    params = list(forward.params.params)
    at = next((i for i, param in enumerate(params) if param.name.value == "return_dict"), len(params))
    params.insert(at, parameter(RECEIVED, "IntermediateTensors | None", "None"))
    if any(param.default is None for param in params[at + 1 :]):
        raise UnsupportedError(f"the forward of {cls} has a parameter without default behind return_dict")
    changed = forward.with_changes(params=forward.params.with_changes(params=params))
    if changed.returns is not None:
        kinds = f"{code(changed.returns.annotation)} | tuple[IntermediateTensors]"
        changed = changed.with_changes(returns=changed.returns.with_changes(annotation=expression(kinds)))
    return changed.with_changes(body=_changed(forward.body, (), changes))


class _Change:
    """What is written around a statement: in front, in its place or under a condition, and behind."""

    def __init__(self) -> None:
        self.front: list[str] = []
        self.runs = ""
        self.under = ""
        self.other = ""
        self.behind = ""


def _plan_changes(run: Run, changes: dict[Path, _Change]) -> None:
    before: list[str] = []  # one list of each loop that is run first
    for number, phase in enumerate(run.phases):
        for loop in phase.loops:
            change = changes.setdefault(loop.path, _Change())
            change.front = [*_anew(run, loop, before)]
            change.runs = _own_part(loop, before)
            if loop is run.loops[0]:
                change.front.append(_received(run))
            before.append(loop.lists[0])
            if loop is phase.loops[-1]:
                change.behind = _handed_on(phase, before if number + 1 < len(run.phases) else [])
        if number + 1 < len(run.phases):
            _ahead(run.phases[number + 1], before, changes)


def _length(before: Sequence[str]) -> str:
    return " + ".join(f"len(self.{name})" for name in before)


def _skipped(before: Sequence[str]) -> str:
    return " - ".join(f"len(self.{name})" for name in before)


def _received(run: Run) -> str:
    first, *others = run.phases
    asked = "not is_pipeline_first_stage()"
    if others:
        asked = f"0 < self.start_layer <= {_length([loop.lists[0] for loop in first.loops])}"
    return f"if {asked}:\n{_taken(first)}"


def _taken(phase: Phase) -> str:
    return "".join(f'    {stream} = {RECEIVED}["{stream}"]\n' for stream in phase.streams)


def _handed_on(phase: Phase, before: Sequence[str]) -> str:
    """What a stage that runs no block behind ``phase`` gives back; ``before`` are the lists that far, [] at the end."""
    ends = f" and self.end_layer <= {_length(before)}" if before else ""
    sent = ", ".join(f'"{stream}": {stream}.contiguous()' for stream in phase.streams)
    return f"if not is_pipeline_last_stage(){ends}:\n    return (IntermediateTensors({{{sent}}}),)\n"


def _ahead(phase: Phase, before: Sequence[str], changes: dict[Path, _Change]) -> None:
    """What the stage of a phase's first block does in front of it; a later one is sent what comes of it."""
    first, *others = phase.ahead
    change = changes.setdefault(first, _Change())
    change.under = f"self.start_layer <= {_length(before)}"
    change.other = _taken(phase)
    for path in others:
        changes.setdefault(path, _Change()).under = "with the one in front"


def _anew(run: Run, loop: Loop, before: Sequence[str]) -> list[str]:
    """What a stage counts for the blocks of those before."""
    if not loop.again:
        return []
    counters = {other.counter for other in run.loops}
    if len(run.phases) == 1 and len(counters) == 1 and loop.counter:  # all blocks are counted in one
        return [f"{loop.counter} += self.start_layer\n"] if loop is run.loops[0] else []
    number = f"max(self.start_layer - {_skipped(before)}, 0)" if before else "self.start_layer"
    if loop is not run.loops[-1]:
        number = f"min({number}, len(self.{loop.lists[0]}))"
    reads = {n.id for line in loop.again for n in ast.walk(line) if isinstance(n, ast.Name)}
    body = ast.unparse(ast.Module(list(loop.again), [])).replace("\n", "\n    ")
    name = loop.counted if loop.counted in reads else "_"
    return [f"# what the blocks of the stages before count\nfor {name} in range({number}):\n    {body}\n"]


def _own_part(loop: Loop, before: Sequence[str]) -> str:
    """The blocks of a loop that are this rank's, where the lists ``before`` are run first."""
    runs = ast.unparse(loop.node.iter)
    if not before:
        return f"islice({runs}, self.start_layer, self.end_layer)"
    skipped = _skipped(before)
    return f"islice({runs}, max(self.start_layer - {skipped}, 0), max(self.end_layer - {skipped}, 0))"


def _changed(body: cst.BaseSuite, path: Path, changes: dict[Path, _Change]) -> cst.BaseSuite:
    lines: list[cst.BaseStatement] = []
    for at, line in enumerate(body.body):
        place = (*path, at)
        inside = [other for other in changes if other[: len(place)] == place and other != place]
        if isinstance(line, cst.If) and inside:
            line = line.with_changes(body=_changed(line.body, (*place, "body"), changes))
            if isinstance(line.orelse, cst.Else):
                other = _changed(line.orelse.body, (*place, "orelse"), changes)
                line = line.with_changes(orelse=line.orelse.with_changes(body=other))
        change = changes.get(place)
        if change is None:
            lines.append(line)  # type: ignore[arg-type]
            continue
        for text in change.front:
            lines += _spaced(text)
        if isinstance(line, cst.For) and change.runs:
            line = line.with_changes(iter=expression(change.runs))
        if change.under and not change.other:  # within the condition of the statement in front
            last = lines[-1]
            assert isinstance(last, cst.If)
            inner = last.body.with_changes(body=[*last.body.body, line])
            lines[-1] = last.with_changes(body=inner)
            continue
        if change.under:
            (guarded,) = _spaced(f"if {change.under}:\n    pass\nelse:\n{change.other}")
            assert isinstance(guarded, cst.If)
            line = guarded.with_changes(body=guarded.body.with_changes(body=[line]))
        lines.append(line)  # type: ignore[arg-type]
        if change.behind:
            lines += _spaced(change.behind)
    return body.with_changes(body=lines)


def _spaced(text: str) -> list[cst.BaseStatement]:
    """Statements with an empty line in front."""
    first, *rest = statements(text.strip("\n") + "\n")
    assert isinstance(first, cst.SimpleStatementLine | cst.If | cst.For)
    leading = [cst.EmptyLine(indent=False), *first.leading_lines]
    return [first.with_changes(leading_lines=leading), *rest]
