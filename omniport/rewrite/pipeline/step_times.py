"""The time of a step stays the tensor that it is: the reference makes it a number, and a tensor of that again.

Each ``t.item()``, and each ``torch.tensor([t])`` of an element of the scheduler's timesteps, makes the host wait for
the device in every round of the loop.  What is written instead holds the same numbers of the same type.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, assigned, indented, suite
from omniport.rewrite.pipeline.rename import replace_names
from omniport.rewrite.pipeline.schedule import schedules, times, with_diffuse
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform

#: Methods that put the times they are given on the device themselves.
_TAKERS = frozenset({"self.scheduler.scale_noise", "self.scheduler.add_noise"})


def with_times_kept(methods: Sequence[cst.FunctionDef]) -> list[cst.FunctionDef]:
    """The methods of a pipeline, its ``diffuse`` without such detours."""
    return with_diffuse(methods, _kept)


def _kept(diffuse: cst.FunctionDef, entry: cst.FunctionDef) -> cst.FunctionDef:
    text = code(diffuse)
    if not any(part in text for part in ("torch.tensor([", ".item()", "torch.is_tensor(")):
        return diffuse
    known = times(diffuse, schedules(diffuse, entry))
    return transform(diffuse, _Keep(known)) if known else diffuse


class _Keep(cst.CSTTransformer):
    def __init__(self, times: set[str]) -> None:
        self.times = times

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if dotted(updated_node.func) in _TAKERS:
            return updated_node.with_changes(args=[self._single(a) for a in updated_node.args])
        return self._full(updated_node) or self._repeated(updated_node) or updated_node

    def _single(self, argument: cst.Arg) -> cst.Arg:
        """``torch.tensor([t])``, which the method puts on the device, as ``t[None]``."""
        value = argument.value
        if not isinstance(value, cst.Call) or dotted(value.func) != "torch.tensor" or len(value.args) != 1:
            return argument
        name = self._listed(value.args[0].value)
        return argument if name is None else argument.with_changes(value=cst.parse_expression(f"{name}[None]"))

    def _listed(self, node: cst.BaseExpression) -> str | None:
        """The time in ``[t]``."""
        one = isinstance(node, cst.List) and len(node.elements) == 1
        name = dotted(node.elements[0].value) if one else None  # type: ignore[attr-defined]
        return name if name in self.times else None

    def _full(self, call: cst.Call) -> cst.BaseExpression | None:
        """``torch.full((n,), t.item(), device=d, dtype=k)`` as ``t.to(device=d, dtype=k).expand(n)``."""
        if dotted(call.func) != "torch.full" or len(call.args) != 4:
            return None
        shape, value = call.args[0].value, call.args[1].value
        if any(a.keyword for a in call.args[:2]) or not isinstance(shape, cst.Tuple) or len(shape.elements) != 1:
            return None
        named = {a.keyword.value: code(a.value) for a in call.args[2:] if a.keyword}
        name = (
            (dotted(value.func) or "").removesuffix(".item") if isinstance(value, cst.Call) and not value.args else ""
        )
        if name not in self.times or set(named) != {"device", "dtype"}:
            return None
        count = code(shape.elements[0].value)
        return cst.parse_expression(f"{name}.to(device={named['device']}, dtype={named['dtype']}).expand({count})")

    def _repeated(self, call: cst.Call) -> cst.BaseExpression | None:
        """``torch.tensor([t] * n, device=d)`` as ``t.to(d).expand(n)``, and one ``to`` where another follows."""
        inner = call.func.value if isinstance(call.func, cst.Attribute) and call.func.attr.value == "to" else None
        kind = f", dtype={code(call.args[0].value)}" if len(call.args) == 1 and _is_named(call.args[0], "dtype") else ""
        if inner is not None and kind and (found := self._times(inner)) is not None:
            return cst.parse_expression(f"{found[0]}.to(device={found[2]}{kind}).expand({found[1]})")
        return None

    def _times(self, node: cst.BaseExpression) -> tuple[str, str, str] | None:
        """Time, count and device of ``torch.tensor([t] * n, device=d)``."""
        if not isinstance(node, cst.Call) or dotted(node.func) != "torch.tensor" or len(node.args) != 2:
            return None
        listed, device = node.args
        value = listed.value
        if not isinstance(value, cst.BinaryOperation) or not isinstance(value.operator, cst.Multiply):
            return None
        name = self._listed(value.left)
        if name is None or listed.keyword or not _is_named(device, "device"):
            return None
        return name, code(value.right), code(device.value)

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        """``x = t`` and the question whether it is a tensor without dimensions, with the one answer.

        And ``x = torch.tensor([t / 2]).expand(n)`` ahead of ``x = x.to(device)`` as ``x = (t / 2).expand(n)``.
        """
        body: Block = []
        for node in suite(updated_node):
            copied = self._copied(body[-1]) if body else None
            if copied is not None and isinstance(node, cst.If) and (kept := _answered(node, *copied)) is not None:
                body[-1] = kept.with_changes(leading_lines=body[-1].leading_lines)
            else:
                if body and (made := self._moved(body[-1], node)) is not None:
                    body[-1] = made
                body.append(node)
        return indented(body, updated_node)

    def _moved(self, node: cst.CSTNode, after: cst.CSTNode) -> cst.SimpleStatementLine | None:
        """``x = torch.tensor([f(t)]).expand(n)`` with the tensor that f(t) is, if the next line puts x on a device."""
        made, moved = assigned(node), assigned(after)
        if made is None or moved is None or made[0] != moved[0]:
            return None
        call = moved[1]
        if not isinstance(call, cst.Call) or dotted(call.func) != f"{made[0]}.to" or not _names_device(call):
            return None
        expand = made[1]
        inner = expand.func.value if isinstance(expand, cst.Call) and isinstance(expand.func, cst.Attribute) else None
        if inner is None or expand.func.attr.value != "expand" or not isinstance(inner, cst.Call):  # type: ignore[attr-defined]
            return None
        if dotted(inner.func) != "torch.tensor" or len(inner.args) != 1:
            return None
        listed = inner.args[0].value
        if not isinstance(listed, cst.List) or len(listed.elements) != 1 or not self._scaled(listed.elements[0].value):
            return None
        value = cst.ensure_type(cst.parse_expression(f"({code(listed.elements[0].value)}).expand()"), cst.Call)
        new = value.with_changes(args=expand.args)  # type: ignore[attr-defined]
        line = cst.ensure_type(node, cst.SimpleStatementLine)
        return line.with_changes(body=[line.body[0].with_changes(value=new)])

    def _scaled(self, node: cst.BaseExpression) -> bool:
        """Whether this is a time, or one by which a number divides, multiplies, ...: a tensor as the time is one."""
        if isinstance(node, cst.BinaryOperation):
            sides = node.left, node.right
            numbers = [isinstance(side, cst.Integer | cst.Float) for side in sides]
            return sum(numbers) == 1 and self._scaled(sides[numbers.index(False)])
        return dotted(node) in self.times

    def _copied(self, node: cst.CSTNode) -> tuple[str, str] | None:
        """The names of ``x = t``."""
        found = assigned(node)
        return (found[0], code(found[1])) if found is not None and dotted(found[1]) in self.times else None


def _names_device(call: cst.Call) -> bool:
    """Whether a call of ``to`` says which device."""
    return any(
        _is_named(a, "device") or (a.keyword is None and (dotted(a.value) or "").endswith(".device")) for a in call.args
    )


def _is_named(argument: cst.Arg, name: str) -> bool:
    return argument.keyword is not None and argument.keyword.value == name


def _answered(node: cst.If, name: str, time: str) -> cst.SimpleStatementLine | None:
    """``x = f(t)`` for ``x = t``, ``if not torch.is_tensor(x): ... elif len(x.shape) == 0: x = f(x)``."""
    other = node.orelse
    if code(node.test).strip() != f"not torch.is_tensor({name})" or not isinstance(other, cst.If):
        return None
    line = suite(other.body)[0]
    asked = code(other.test).strip() == f"len({name}.shape) == 0" and other.orelse is None
    if not asked or len(suite(other.body)) > 1 or not isinstance(line, cst.SimpleStatementLine):
        return None
    small = line.body[0]
    if len(line.body) > 1 or not isinstance(small, cst.Assign) or dotted(small.targets[0].target) != name:
        return None
    return line.with_changes(body=[small.with_changes(value=replace_names(small.value, {name: time}))])
