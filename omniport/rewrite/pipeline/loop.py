"""The denoising as a method ``diffuse``."""

from __future__ import annotations

import re

import libcst as cst

from omniport.analyse.pipeline_loop import find_span
from omniport.plan.model import PipelinePlan
from omniport.rewrite.optional_types import with_optional_types
from omniport.rewrite.pipeline.blocks import Block, Statement, bound, head_bound, indented, parse, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, keyword_arguments
from omniport.rewrite.pipeline.facts import decision
from omniport.rewrite.pipeline.liveness import surely_bound
from omniport.rewrite.pipeline.pair import dropped
from omniport.rewrite.pipeline.schedule import holds_schedule
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform

_NUMBERED = re.compile(r"#\s*\d+\.\s")


def split_loop(
    entry: cst.FunctionDef, plan: PipelinePlan, denoisers: Denoisers
) -> tuple[cst.FunctionDef, cst.FunctionDef]:
    """The entry with a call of ``diffuse`` where its denoising was, and ``diffuse``."""
    start, stop = find_span(entry, denoisers, plan.module, 0)
    named = _ByName(denoisers, denoisers.names(entry))
    block = suite(entry.body)
    names, results = _names(plan, "diffuse arguments"), _names(plan, "diffuse results")
    inside = [transform(s, named) for s in block[start:stop]]
    heading, inside[0] = _heading(inside[0])
    method = _method(entry, names, results, block[:start], inside)
    arguments = "".join(f"    {name}={name},\n" for name in names)
    call = parse(f"{', '.join(results)} = self.diffuse(\n{arguments})\n")
    before = _bound_on_all_paths(block[:start], names, entry)
    call = [call[0].with_changes(leading_lines=[cst.EmptyLine(indent=False), *heading])]
    return entry.with_changes(body=indented([*before, *call, *block[stop:]], entry.body)), method


class _ByName(cst.CSTTransformer):
    """Denoiser calls with every argument by name, and without those that are None by a dropped argument."""

    def __init__(self, denoisers: Denoisers, names: frozenset[str]) -> None:
        self.denoisers, self.names = denoisers, names

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) not in self.names:
            return updated_node
        if any(a.star for a in original_node.args):
            kept = [a for a in updated_node.args if a.keyword is None or not dropped(a.keyword.value, a.value)]
            return updated_node.with_changes(args=kept)
        found = keyword_arguments(original_node, self.denoisers, self.names)
        if found is None:
            return updated_node
        pairs = list(zip(updated_node.args, found, strict=True))
        return updated_node.with_changes(
            args=[
                a
                if a.keyword is not None
                else cst.Arg(
                    keyword=cst.Name(key),
                    value=a.value,
                    equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
                    comma=a.comma,
                    whitespace_after_arg=a.whitespace_after_arg,
                )
                for a, (key, value) in pairs
                if not dropped(key, value)
            ]
        )


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


# ----------------------------------------------------------------------------------------------------------- the method
def _method(
    entry: cst.FunctionDef, names: list[str], results: list[str], before: Block, inside: Block
) -> cst.FunctionDef:
    annotations = {
        p.name.value: p.annotation for p in with_optional_types(entry.params).params if p.annotation is not None
    }
    lines = "".join(f"    {n}{_annotation(n, annotations, before, results)},\n" for n in names)
    returned = ", ".join(results)
    kind = ""
    if len(results) == 1 and results[0] in annotations:
        kind = " -> " + code(annotations[results[0]].annotation).removesuffix(" | None")
    text = f'def diffuse(\n    self,\n{lines}){kind}:\n    """Denoise over all timesteps."""\n    return {returned}\n'
    method = parse(text)[0]
    assert isinstance(method, cst.FunctionDef)
    doc, ret = suite(method.body)
    return method.with_changes(body=indented([doc, *inside, *_spaced([ret])]))


def _annotation(name: str, known: dict[str, cst.Annotation], before: Block, results: list[str]) -> str:
    if name == "timesteps" and holds_schedule(before):
        return ": torch.Tensor"  # the parameter of that name may have been a list
    if name in known:
        given = code(known[name].annotation)
        made = any(name in head_bound(node) for node in before)  # anew, whether it was given or not
        return f": {given.removesuffix(' | None') if made and name in results else given}"
    for node in before:
        if isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Assign):
            assign = node.body[0]
            truth = isinstance(assign.value, cst.Comparison | cst.BooleanOperation) or (
                isinstance(assign.value, cst.UnaryOperation) and isinstance(assign.value.operator, cst.Not)
            )
            if truth and dotted(assign.targets[0].target) == name and _is_bool(assign.value):
                return ": bool"
    other = _only_value(name, before)
    return f": {code(known[other].annotation)}" if other in known and other not in bound(before) else ""


def _only_value(name: str, before: Block) -> str:
    """The name that is all ``name`` is ever bound to there: ``current_guidance_scale = guidance_scale``."""
    holding = [node for node in before if name in bound([node])]
    line = holding[0].body[0] if len(holding) == 1 and isinstance(holding[0], cst.SimpleStatementLine) else None
    plain = isinstance(line, cst.Assign) and len(line.targets) == 1 and dotted(line.targets[0].target) == name
    return (dotted(line.value) or "") if plain else ""  # type: ignore[union-attr]


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
