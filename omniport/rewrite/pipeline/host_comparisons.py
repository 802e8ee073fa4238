"""Questions about the time of a step are answered once for all steps: one in each makes the host wait for the device.

``if t >= boundary`` reads the tensor ``t``.  ``(timesteps >= boundary).tolist()`` holds the same answers, each of
which the loop finds by the index of its step.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import bound, parse, suite
from omniport.rewrite.pipeline.host_times import ahead, counted, elements_written, index_of, iterated
from omniport.rewrite.pipeline.schedule import element, schedules, times, with_diffuse
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_SIDES = {cst.GreaterThanEqual: "above", cst.GreaterThan: "above", cst.LessThanEqual: "below", cst.LessThan: "below"}


def with_times_compared_once(methods: Sequence[cst.FunctionDef]) -> list[cst.FunctionDef]:
    """The methods of a pipeline, its ``diffuse`` with such answers ahead of the loop."""
    return with_diffuse(methods, _compared_once)


def _compared_once(diffuse: cst.FunctionDef, entry: cst.FunctionDef) -> cst.FunctionDef:
    asked = [c for test in _tests(diffuse) for c in _questions(test)]
    limits = {p.name.value for p in all_parameters(diffuse.params)} - bound(suite(diffuse.body))
    asked = [c for c in asked if dotted(c.comparisons[0].comparator) in limits]
    if not asked:
        return diffuse
    known = schedules(diffuse, entry)
    loops = [loop for loop in of_kind(diffuse, cst.For) if element(loop, known)]
    if len(loops) != 1 or elements_written(diffuse, known):
        return diffuse
    (loop,) = loops
    time, index = element(loop, known), index_of(loop)
    inside = [c for test in _tests(loop.body) for c in _questions(test)]
    asked = [c for c in asked if dotted(c.left) == time and any(c is other for other in inside)]
    if not asked or time not in times(diffuse, known) or time in limits or (index or "") in bound(suite(loop.body)):
        return diffuse
    taken = {name.value for name in of_kind(diffuse, cst.Name)}
    used = index or next((name for name in ("i", "step", "index") if name not in taken), None)
    names = {" ".join(code(c).split()): _name(c) for c in asked}
    if used is None or len(set(names.values())) < len(names) or taken & set(names.values()):
        return diffuse
    new = transform(loop, _Answer({id(c): f"{names[' '.join(code(c).split())]}[{used}]" for c in asked}))
    assert isinstance(new, cst.For)
    lines = {}
    for c in asked:
        name, limit = _name(c), dotted(c.comparisons[0].comparator)
        sign = code(c.comparisons[0].operator).strip()
        lines[name] = f"{name} = [] if {limit} is None else ({code(iterated(loop))} {sign} {limit}).tolist()\n"
    return ahead(diffuse, loop, new if index else counted(new, used, time), parse("".join(lines.values())))


def _tests(node: cst.CSTNode) -> list[cst.BaseExpression]:
    """The conditions of branches within ``node``."""
    return [branch.test for branch in of_kind(node, cst.If)] + [choice.test for choice in of_kind(node, cst.IfExp)]


def _questions(test: cst.BaseExpression) -> list[cst.Comparison]:
    """Comparisons of two names of which only the truth counts."""
    if isinstance(test, cst.BooleanOperation):
        return [*_questions(test.left), *_questions(test.right)]
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        return _questions(test.expression)
    if not isinstance(test, cst.Comparison) or len(test.comparisons) != 1:
        return []
    target = test.comparisons[0]
    plain = isinstance(test.left, cst.Name) and isinstance(target.comparator, cst.Name)
    return [test] if plain and type(target.operator) in _SIDES else []


def _name(node: cst.Comparison) -> str:
    """``above_boundary`` for ``t >= boundary_timestep``."""
    limit = dotted(node.comparisons[0].comparator) or ""
    return f"{_SIDES[type(node.comparisons[0].operator)]}_{limit.removesuffix('_timestep')}"


class _Answer(cst.CSTTransformer):
    def __init__(self, answers: dict[int, str]) -> None:
        self.answers = answers

    def leave_Comparison(self, original_node: cst.Comparison, updated_node: cst.Comparison) -> cst.BaseExpression:
        text = self.answers.get(id(original_node))
        return updated_node if text is None else cst.parse_expression(text)
