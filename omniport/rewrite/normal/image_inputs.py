"""``if hidden_states.ndim == 4`` of an attention that is only given tokens.

diffusers' shared attention serves UNets as well: it flattens an image ``[batch, channels, height, width]`` first.  A
caller that normalises a last axis of the attention's own width has its channels there, so its tensor is no such image:
the reference would take another axis for the channels, and its projections would refuse the width.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.parameters import arguments_of, parameter_names
from omniport.rewrite.normal.substitute import assigned_in
from omniport.rewrite.normal.usage import ClassFacts, Usage
from omniport.source.syntax import code, constant, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

IMAGE = 4  # axes


def drop_image_inputs(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``node`` without the branch for images; the same object if it has none, or a caller's tensor may be one."""
    own = facts.classes[node.name.value]
    forward = own.function("forward")
    names = parameter_names(forward) if forward is not None else []
    if forward is None or not names or all(part.attr.value != "ndim" for part in of_kind(forward, cst.Attribute)):
        return node
    if not _only_tokens(node.name.value, facts):
        return node
    counts = _counts(forward, names[0])
    if not any(_flattens(branch, names[0], counts) for branch in of_kind(forward, cst.If)):
        return node
    new = transform(forward, _Drop(counts))
    members = [new if member is forward else member for member in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def _counts(forward: cst.FunctionDef, name: str) -> set[str]:
    """Locals that hold the number of axes that ``name`` has when the forward is called."""
    found: set[str] = set()
    for line in forward.body.body:
        part = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
        if isinstance(part, cst.Assign) and code(part.value) == f"{name}.ndim":
            found |= {target.target.value for target in part.targets if isinstance(target.target, cst.Name)}
        if name in assigned_in(line):
            break
    return found


def _only_tokens(cls: str, facts: Usage) -> bool:
    """Whether every class that calls ``cls`` has a norm of the width that it builds ``cls`` with."""
    callers = {owner for owner, _, _ in facts.sites.get((cls, "forward"), ())}
    built = facts.sites.get((cls, "__init__"), [])
    init = facts.classes[cls].function("__init__")
    if init is None or not callers:
        return False
    names = parameter_names(init)
    for caller in callers:
        widths = {_first(call, names) for owner, call, _ in built if owner == caller}
        if not widths or not widths <= _normed(facts.classes[caller]):
            return False
    return True


def _first(call: cst.Call, names: list[str]) -> str:
    """The text of a call's first argument; none that occurs if it has none."""
    given = arguments_of(call, names)
    first = given.get(names[0]) if given and names else None
    return code(first.value) if first is not None else "?"


def _normed(caller: ClassFacts) -> set[str]:
    """The widths of the norms that a class builds."""
    init = caller.function("__init__")
    calls = of_kind(init, cst.Call) if init is not None else ()
    norms = (call for call in calls if call.args and "Norm" in (dotted(call.func) or "").rpartition(".")[2])
    return {code(call.args[0].value) for call in norms}


def _is_image(test: cst.BaseExpression, counts: set[str]) -> bool:
    if not isinstance(test, cst.Comparison) or len(test.comparisons) != 1 or code(test.left) not in counts:
        return False
    (target,) = test.comparisons
    return isinstance(target.operator, cst.Equal) and constant(target.comparator) == IMAGE


def _flattens(branch: cst.If, name: str, counts: set[str]) -> bool:
    """Whether it makes tokens of an image: ``x = x.view(batch, channels, height * width).transpose(1, 2)``."""
    if not _is_image(branch.test, counts):
        return False
    values = [code(part.value) for part in of_kind(branch.body, cst.Assign)]
    return any(value.startswith(f"{name}.view(") and value.endswith(".transpose(1, 2)") for value in values)


class _Drop(cst.CSTTransformer):
    def __init__(self, counts: set[str]) -> None:
        self.counts = counts

    def leave_If(
        self, original_node: cst.If, updated_node: cst.If
    ) -> cst.If | cst.RemovalSentinel | cst.FlattenSentinel[cst.BaseStatement]:
        if not _is_image(original_node.test, self.counts):
            return updated_node
        if isinstance(updated_node.orelse, cst.If):
            return updated_node.orelse
        if updated_node.orelse is None:
            return cst.RemoveFromParent()
        return cst.FlattenSentinel(list(updated_node.orelse.body.body))  # type: ignore[arg-type]

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        return updated_node.orelse if _is_image(original_node.test, self.counts) else updated_node
