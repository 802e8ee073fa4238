"""Numbers of the steps are read once ahead of the loop: a read in each step makes the host wait for the device there.

``t.item()`` and ``float(t)`` of the loop's time, and of what arithmetic with numbers makes of it, depend on the
schedule alone.  ``schedule.tolist()`` holds the same numbers, each of which the loop finds by the index of its step.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import Block, bound, changed, indented, parse, suite
from omniport.rewrite.pipeline.schedule import element, schedules, times, with_diffuse
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_COMMENT = cst.EmptyLine(comment=cst.Comment("# On the host once: a read in each step would wait for the device."))
_NUMBERS = (cst.Integer, cst.Float)
_ARITHMETIC = (cst.Add, cst.Subtract, cst.Multiply, cst.Divide)


def with_times_read_once(methods: Sequence[cst.FunctionDef]) -> list[cst.FunctionDef]:
    """The methods of a pipeline, its ``diffuse`` with such numbers ahead of the loop."""
    return with_diffuse(methods, _read_once)


def _read_once(diffuse: cst.FunctionDef, entry: cst.FunctionDef) -> cst.FunctionDef:
    text = code(diffuse)
    if ".item()" not in text and "float(" not in text or "set_timesteps" in text:
        return diffuse
    known = schedules(diffuse, entry)
    loops = [loop for loop in of_kind(diffuse, cst.For) if element(loop, known)]
    if len(loops) != 1 or elements_written(diffuse, known):
        return diffuse
    loop = loops[0]
    time = element(loop, known)
    taken = {name.value for name in of_kind(diffuse, cst.Name)}
    if time not in times(diffuse, known):
        return diffuse
    over = iterated(loop)
    index = index_of(loop)
    if index is not None and index in bound(suite(loop.body)):
        return diffuse
    free = next((name for name in ("i", "step", "index") if name not in taken), None)
    if index is None and free is None:
        return diffuse
    reader = _Reader(index or str(free), taken)
    body = reader.block(suite(loop.body), {time: _Times(code(over))})
    if not reader.lists:
        return diffuse
    new = changed(loop, body=indented(body, loop.body))
    if index is None:
        new = counted(new, str(free), time)
    return ahead(diffuse, loop, new, parse("".join(f"{n} = {of}.tolist()\n" for of, n in reader.lists.items())))


def ahead(diffuse: cst.FunctionDef, loop: cst.For, new: cst.For, lines: Block) -> cst.FunctionDef:
    """The method with ``lines``, which read the device, ahead of the statement that holds the loop."""
    lines = [lines[0].with_changes(leading_lines=[_COMMENT]), *lines[1:]]
    body: Block = []
    for node in suite(diffuse.body):
        if node is loop or any(inner is loop for inner in of_kind(node, cst.For)):
            body.extend(lines)
            node = new if node is loop else cst.ensure_type(node.deep_replace(loop, new), type(node))
        body.append(node)
    return changed(diffuse, body=indented(body, diffuse.body))


def iterated(loop: cst.For) -> cst.BaseExpression:
    """What a loop goes over, ``enumerate`` and a bar of progress aside."""
    over = loop.iter
    while isinstance(over, cst.Call):
        over = over.args[0].value
    return over


def counted(loop: cst.For, index: str, time: str) -> cst.For:
    """The loop with ``index`` for the number of the round."""
    target = cst.ensure_type(parse(f"{index}, {time} = 0\n")[0], cst.SimpleStatementLine).body[0]
    rounds = cst.Call(cst.Name("enumerate"), [cst.Arg(loop.iter)])
    return loop.with_changes(target=cst.ensure_type(target, cst.Assign).targets[0].target, iter=rounds)


def elements_written(diffuse: cst.FunctionDef, known: set[str]) -> bool:
    """Whether an element of the schedule is assigned."""
    targets = [target.target for target in of_kind(diffuse, cst.AssignTarget)]
    return any(isinstance(t, cst.Subscript) and dotted(t.value) in known for t in targets)


def index_of(loop: cst.For) -> str | None:
    """The name that counts the rounds of the loop."""
    counted = any(dotted(call.func) == "enumerate" for call in of_kind(loop.iter, cst.Call))
    return dotted(loop.target.elements[0].value) if counted and isinstance(loop.target, cst.Tuple) else None


@dataclass(frozen=True)
class _Times:
    """What an expression of one step's time is for all steps; ``wide`` where it was expanded to several samples."""

    text: str
    wide: bool = False


class _Reader:
    """Follows what is made of the time, from line to line of the loop."""

    def __init__(self, index: str, taken: set[str]) -> None:
        self.index, self.taken = index, taken
        self.lists: dict[str, str] = {}

    def block(self, block: Block, known: dict[str, _Times]) -> Block:
        out: Block = []
        for node in block:
            written = bound([node])
            assign = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
            name = (
                dotted(assign.targets[0].target)
                if isinstance(assign, cst.Assign) and len(assign.targets) == 1
                else None
            )
            stable = known if name is not None else {n: value for n, value in known.items() if n not in written}
            replace = _Replace(self, stable, name, assign.value if isinstance(assign, cst.Assign) else None)
            out.append(transform(node, replace) if stable else node)
            value = _of_all(assign.value, known) if isinstance(assign, cst.Assign) and name is not None else None
            known = {n: found for n, found in known.items() if n not in written}
            if name is not None and value is not None:
                known[name] = value
        return out

    def element(self, found: _Times, whole: str | None) -> cst.BaseExpression | None:
        """This step's number of the list that holds the numbers of all; ``whole``: the name that it is assigned to."""
        if found.text not in self.lists:
            options = [f"{whole}s"] if whole else []
            name = next((n for n in (*options, "times") if n not in self.taken), None)
            if name is None:
                return None
            self.taken.add(name)
            self.lists[found.text] = name
        return cst.parse_expression(f"{self.lists[found.text]}[{self.index}]")


class _Replace(cst.CSTTransformer):
    def __init__(
        self, reader: _Reader, known: dict[str, _Times], name: str | None, value: cst.BaseExpression | None
    ) -> None:
        self.reader, self.known, self.name, self.value = reader, known, name, value

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        return False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return False

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        func = original_node.func
        if isinstance(func, cst.Attribute) and func.attr.value == "item" and not original_node.args:
            read, number = func.value, False
        elif dotted(func) == "float" and len(original_node.args) == 1 and not original_node.args[0].keyword:
            read, number = original_node.args[0].value, True
        else:
            return updated_node
        found = _of_all(read, self.known)
        if found is None or found.wide:
            return updated_node
        new = self.reader.element(found, self.name if original_node is self.value else None)
        if new is None:
            return updated_node
        return updated_node.with_changes(args=[cst.Arg(new)]) if number else new


def _operand(node: cst.BaseExpression, known: dict[str, _Times]) -> _Times | None:
    return _Times(node.value) if isinstance(node, _NUMBERS) else _of_all(node, known)


def _of_all(node: cst.BaseExpression, known: dict[str, _Times]) -> _Times | None:
    """The expression with the times of all steps in place of one: what is done to each element alone."""
    if isinstance(node, cst.Name):
        return known.get(node.value)
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, _ARITHMETIC):
        left, right = _operand(node.left, known), _operand(node.right, known)
        if left is None or right is None or isinstance(node.left, _NUMBERS) is isinstance(node.right, _NUMBERS):
            return None
        sign = code(node.operator).strip()
        return _Times(f"({left.text} {sign} {right.text})", left.wide or right.wide)
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        inner = _of_all(node.func.value, known)
        if inner is not None and node.func.attr.value == "expand" and not inner.wide and len(node.args) == 1:
            return _Times(inner.text, wide=True)
        if inner is not None and node.func.attr.value == "float" and not node.args:
            return _Times(f"{inner.text}.float()", inner.wide)
    if isinstance(node, cst.Subscript) and code(node).endswith("[0]"):
        inner = _of_all(node.value, known)
        return _Times(inner.text) if inner is not None and inner.wide else None
    return None
