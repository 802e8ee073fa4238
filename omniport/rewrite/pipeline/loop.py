"""The denoise loop as a method ``diffuse``, its two predictions as one call of the guidance mixin."""

from __future__ import annotations

import re

import libcst as cst

from omniport.analyse.pipeline_knowledge import DROPPED_ARGUMENTS
from omniport.analyse.pipeline_loop import DenoiseLoop, Prediction, find_loop
from omniport.plan.model import PipelinePlan
from omniport.rewrite.pipeline.blocks import Block, Statement, bound, indented, parse, reads, suite
from omniport.rewrite.pipeline.facts import decision
from omniport.rewrite.pipeline.liveness import surely_bound
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform

_NUMBERED = re.compile(r"#\s*\d+\.\s")


def split_loop(entry: cst.FunctionDef, plan: PipelinePlan) -> tuple[cst.FunctionDef, cst.FunctionDef]:
    """The entry with a call of ``diffuse`` where its loop was, and ``diffuse``."""
    loop = find_loop(entry, plan.module, 0)
    block = suite(entry.body)
    names, results = _names(plan, "diffuse arguments"), _names(plan, "diffuse results")
    inside = [*block[loop.start : loop.stop - 1], _rebuilt(block[loop.stop - 1], loop, _body(loop, plan))]
    heading, inside[0] = _heading(inside[0])
    method = _method(entry, names, results, block[: loop.start], inside)
    arguments = "".join(f"    {name}={name},\n" for name in names)
    call = parse(f"{', '.join(results)} = self.diffuse(\n{arguments})\n")
    before = _bound_on_all_paths(block[: loop.start], names, entry)
    call = [call[0].with_changes(leading_lines=[cst.EmptyLine(indent=False), *heading])]
    return entry.with_changes(body=indented([*before, *call, *block[loop.stop :]], entry.body)), method


def _heading(node: Statement) -> tuple[list[cst.EmptyLine], Statement]:
    """The numbered comment (``# 6. Denoising loop``) above the loop, which stays in the entry, and the rest."""
    lines = [line for line in node.leading_lines if line.comment is not None]
    numbered = [line for line in lines if line.comment is not None and _NUMBERED.match(line.comment.value)]
    return numbered, node.with_changes(leading_lines=[line for line in lines if line not in numbered])


def _names(plan: PipelinePlan, subject: str) -> list[str]:
    found = decision(plan.decisions, subject)
    return str(found.value).split(", ") if found is not None and found.value else []


def _spaced(block: Block) -> Block:
    return [block[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)]), *block[1:]]


def _rebuilt(holder: Statement, loop: DenoiseLoop, body: Block) -> Statement:
    node = loop.node.with_changes(body=indented(body, loop.node.body))
    if isinstance(holder, cst.With):
        return holder.with_changes(body=indented([node], holder.body))
    return node


# ------------------------------------------------------------------------------------------------------------- the body
def _body(loop: DenoiseLoop, plan: PipelinePlan) -> Block:
    """The rounds of the loop with guidance through the mixin; with one prediction, only its arguments are trimmed."""
    if loop.negative is None:
        body = list(loop.body)
        body[loop.positive.index] = transform(body[loop.positive.index], _DropArguments())
        return body
    guarded = loop.body[loop.branch]
    assert isinstance(guarded, cst.If) and loop.guard is not None
    inner = suite(guarded.body)
    guard = code(loop.guard)
    moved, staying = _movable(loop.body[loop.positive.index + 1 : loop.branch], loop.positive.target)
    own = decision(plan.decisions, "guidance combine")
    combined = inner[loop.negative.index + 1 :]
    scale = code(loop.scale) if loop.scale is not None else "1.0"
    positive = _kwargs("positive_kwargs", loop.positive)
    first = loop.body[loop.positive.index].leading_lines
    positive = [positive[0].with_changes(leading_lines=first)]
    choice = parse(f"if {guard}:\n    pass\nelse:\n    negative_kwargs = None\n")[0]
    assert isinstance(choice, cst.If)
    negative = [*inner[: loop.negative.index], *_kwargs("negative_kwargs", loop.negative)]
    choice = choice.with_changes(body=indented(negative), leading_lines=guarded.leading_lines)
    predict = parse(
        f"{loop.positive.target} = self.predict_noise_maybe_with_cfg(\n"
        f"    do_true_cfg={guard},\n"
        f"    true_cfg_scale={scale},\n"
        "    positive_kwargs=positive_kwargs,\n"
        "    negative_kwargs=negative_kwargs,\n"
        "    cfg_normalize=False,\n"
        ")\n"
    )
    after: Block = [*staying]
    if own is not None and own.value == "own":
        unpack = parse(f"{loop.positive.target}, {loop.negative.target} = {loop.positive.target}\n")
        after = [
            guarded.with_changes(body=indented([*unpack, *staying, *combined], guarded.body), leading_lines=[]),
        ]
        if staying:
            after[0] = after[0].with_changes(orelse=cst.Else(body=indented(staying)))
    rest = _stepped(loop, plan, guard)
    return [*loop.body[: loop.positive.index], *positive, *moved, choice, *_spaced(predict), *after, *rest]


def _stepped(loop: DenoiseLoop, plan: PipelinePlan, guard: str) -> Block:
    rest = loop.body[loop.branch + 1 :]
    how = decision(plan.decisions, "scheduler step")
    if loop.step is None or how is None or how.value != "mixin":
        return rest
    place = loop.step - loop.branch - 1
    old = rest[place]
    assert isinstance(old, cst.SimpleStatementLine) and isinstance(old.body[0], cst.Assign)
    value = old.body[0].value
    assert isinstance(value, cst.Subscript) and isinstance(value.value, cst.Call)
    target = code(old.body[0].targets[0].target)
    given = ", ".join(code(a.value) for a in value.value.args[:3])
    new = parse(f"{target} = self.scheduler_step_maybe_with_cfg({given}, {guard})\n")
    return [*rest[:place], new[0].with_changes(leading_lines=old.leading_lines), *rest[place + 1 :]]


def _movable(between: Block, prediction: str) -> tuple[Block, Block]:
    """Statements between the two predictions: those that do not depend on the first one, and the others."""
    moved: Block = []
    staying: Block = []
    tainted = {prediction}
    for node in between:
        if tainted & set(reads(node)):
            staying.append(node)
            tainted |= bound([node])
        else:
            moved.append(node)
    return moved, staying


def _dropped(argument: cst.Arg) -> bool:
    """An argument without counterpart, None since its facts were folded in."""
    name = argument.keyword.value if argument.keyword else ""
    return dotted(argument.value) == "None" and any(d[0].match(name) for d in DROPPED_ARGUMENTS)


class _DropArguments(cst.CSTTransformer):
    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) != "self.transformer":
            return updated_node
        return updated_node.with_changes(args=[a for a in updated_node.args if not _dropped(a)])


def _kwargs(name: str, prediction: Prediction) -> Block:
    entries = {}
    for argument in prediction.call.args:
        assert argument.keyword is not None
        if not _dropped(argument):
            entries[argument.keyword.value] = code(argument.value)
    entries.setdefault("return_dict", "False")
    lines = "".join(f'    "{key}": {value},\n' for key, value in entries.items())
    return parse(f"{name} = {{\n{lines}}}\n")


# ----------------------------------------------------------------------------------------------------------- the method
def _method(
    entry: cst.FunctionDef, names: list[str], results: list[str], before: Block, inside: Block
) -> cst.FunctionDef:
    annotations = {p.name.value: p.annotation for p in entry.params.params if p.annotation is not None}
    lines = "".join(f"    {n}{_annotation(n, annotations, before)},\n" for n in names)
    returned = ", ".join(results)
    kind = ""
    if len(results) == 1 and results[0] in annotations:
        kind = " -> " + code(annotations[results[0]].annotation).removesuffix(" | None")
    text = f'def diffuse(\n    self,\n{lines}){kind}:\n    """Denoise over all timesteps."""\n    return {returned}\n'
    method = parse(text)[0]
    assert isinstance(method, cst.FunctionDef)
    doc, ret = suite(method.body)
    return method.with_changes(body=indented([doc, *inside, *_spaced([ret])]))


def _annotation(name: str, known: dict[str, cst.Annotation], before: Block) -> str:
    if name in known:
        return f": {code(known[name].annotation)}"
    for node in before:
        if isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Assign):
            assign = node.body[0]
            truth = isinstance(assign.value, cst.Comparison | cst.BooleanOperation) or (
                isinstance(assign.value, cst.UnaryOperation) and isinstance(assign.value.operator, cst.Not)
            )
            if truth and dotted(assign.targets[0].target) == name and _is_bool(assign.value):
                return ": bool"
    return ""


def _is_bool(node: cst.BaseExpression) -> bool:
    """A comparison, or ``and``/``or`` that starts with one (the reference names its flags so)."""
    if isinstance(node, cst.BooleanOperation):
        return _is_bool(node.left)
    return isinstance(node, cst.Comparison | cst.UnaryOperation)


def _bound_on_all_paths(block: Block, names: list[str], entry: cst.FunctionDef) -> Block:
    """``block`` with ``name = None`` ahead of the branch that alone binds a name which ``diffuse`` takes."""
    sure = surely_bound(block) | {p.name.value for p in entry.params.params}
    missing = [n for n in names if n not in sure]
    new: Block = []
    for node in block:
        first = [n for n in missing if n in bound([node])]
        if first:
            missing = [n for n in missing if n not in first]
            empty = parse("".join(f"{n} = None\n" for n in first))
            new.append(empty[0].with_changes(leading_lines=node.leading_lines))
            new.extend(empty[1:])
            node = node.with_changes(leading_lines=[])
        new.append(node)
    return new
