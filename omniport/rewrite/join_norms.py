"""Norms across the ranks' heads of one attention share an all-reduce, wherever in the method they stand.

The arguments of a later norm are computed earlier, where that changes nothing: neither what stands in between nor the
earlier norm writes what they read, or mentions what they write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.syntax import assignment, code, dotted, expression, self_attribute, single, statements, variables
from omniport.source.transform import transform
from omniport.source.walk import walk

_TOGETHER = "norm_together"
_JUMPS = cst.Return | cst.Raise | cst.Continue | cst.Break | cst.Yield


@dataclass(frozen=True)
class _Use:
    """Norms that a statement applies: ``pairs`` of target, norm and argument; ``before`` computes arguments, ``after``
    goes on with results.  ``guard``: they are applied if this norm is there."""

    pairs: tuple[tuple[str, str, str], ...]
    before: tuple[cst.BaseStatement, ...] = ()
    after: tuple[cst.BaseStatement, ...] = ()
    guard: str = ""

    def lines(self) -> list[cst.BaseStatement]:
        """The statement that applies them."""
        targets = ", ".join(target for target, _, _ in self.pairs)
        norms = ", ".join(f"(self.{norm}, {value})" for _, norm, value in self.pairs)
        line = f"{targets} = {_TOGETHER}({norms})"
        return statements(f"if self.{self.guard} is not None:\n    {line}\n" if self.guard else f"{line}\n")


class JoinNorms(cst.CSTTransformer):
    """Norms that follow each other in a block, or in a block and an ``if`` of it, become one call.

    Args:
        node: the class.
        names: attributes of its norms across ranks.
    """

    def __init__(self, node: cst.ClassDef, names: set[str]) -> None:
        self.names = names
        self.places = _places(node, names)

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = list(updated_node.body)
        changed = False
        while (joined := self._joined(body)) is not None:
            body, changed = joined, True
        return updated_node.with_changes(body=body) if changed else updated_node

    def _joined(self, body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement] | None:
        """``body`` with two of its norms in one call; None if there are no such two."""
        first: tuple[int, _Use] | None = None
        for at, line in enumerate(body):
            use = self._use(line)
            if first is not None:
                made = self._neighbours(body, *first, at, use) if use else self._nested(body, *first, at)
                if made is not None:
                    return made
            first = (at, use) if use is not None else first
        return None

    # ------------------------------------------------------------------------------------------------------- two uses
    def _neighbours(
        self, body: Sequence[cst.BaseStatement], start: int, first: _Use, end: int, second: _Use
    ) -> list[cst.BaseStatement] | None:
        """The norms at ``end`` are applied at ``start``."""
        if bool(first.guard) != bool(second.guard):
            return None
        if first.guard and self.places.get(first.guard) != self.places.get(second.guard):
            return None
        moved = _argument(body[start + 1 : end], second, body[start])
        if moved is None:
            return None
        joined = _Use((*first.pairs, *second.pairs), guard=first.guard).lines()
        made = [*first.before, *moved, *second.before, *joined, *first.after]
        rest = [line for line in body[start + 1 : end] if all(line is not other for other in moved)]
        return [*body[:start], *_led(body[start], made), *rest, *second.after, *body[end + 1 :]]

    def _nested(
        self, body: Sequence[cst.BaseStatement], start: int, first: _Use, end: int
    ) -> list[cst.BaseStatement] | None:
        """The norm that the ``if`` at ``end`` applies is applied at ``start`` under the same condition."""
        choice = body[end]
        if not isinstance(choice, cst.If) or not isinstance(choice.body, cst.IndentedBlock) or first.guard:
            return None
        inner = [line for line in choice.body.body if isinstance(line, cst.BaseStatement)]
        uses = [(at, use) for at, line in enumerate(inner) if (use := self._use(line)) is not None]
        between = body[start:end]
        asked = set(variables(choice.test))
        if len(uses) != 1 or uses[0][1].guard or any(isinstance(part, cst.Call) for part in walk(choice.test)):
            return None
        at, second = uses[0]
        moved = _argument([*between[1:], *inner[:at]], second, body[start])
        if moved is None or any(_writes(line) & asked for line in between):
            return None
        if any(all(line is not own for own in inner) for line in moved):
            return None  # it is computed outside of the condition
        rest = [line for line in inner[:at] if all(line is not other for other in moved)]
        rest += [*second.after, *inner[at + 1 :]]
        if not rest:
            return None
        both = _Use((*first.pairs, *second.pairs)).lines()
        alone = statements(f"{first.pairs[0][0]} = self.{first.pairs[0][1]}({first.pairs[0][2]})\n")
        applied = cst.If(
            choice.test,
            cst.IndentedBlock([*moved, *second.before, *both]),
            cst.Else(cst.IndentedBlock(first.lines() if len(first.pairs) > 1 else alone)),
        )
        left = choice.with_changes(body=choice.body.with_changes(body=rest))
        made = [*first.before, applied, *first.after]
        return [*body[:start], *_led(body[start], made), *body[start + 1 : end], left, *body[end + 1 :]]

    # -------------------------------------------------------------------------------------------------------- reading
    def _use(self, line: cst.BaseStatement) -> _Use | None:
        """What norms a statement applies."""
        if isinstance(line, cst.If):
            return self._guarded(line)
        pair = assignment(line)
        if pair is None:
            return None
        target, value = pair
        if isinstance(value, cst.Call) and code(value.func) == _TOGETHER and isinstance(target, cst.Tuple):
            found = [arg.value for arg in value.args]
            cut = [[code(item.value) for item in arg.elements] for arg in found if isinstance(arg, cst.Tuple)]
            names = [code(element.value) for element in target.elements]
            return _Use(tuple((n, norm.removeprefix("self."), x) for n, (norm, x) in zip(names, cut, strict=True)))
        calls = [part for part in walk(value) if isinstance(part, cst.Call) and self_attribute(part.func) in self.names]
        if len(calls) != 1 or len(calls[0].args) != 1 or not isinstance(target, cst.Name):
            return None
        return _taken_apart(target.value, value, calls[0])

    def _guarded(self, node: cst.If) -> _Use | None:
        """``if self.norm is not None: x = self.norm(x)``."""
        lines = node.body.body if node.orelse is None else ()
        inner = self._use(lines[0]) if len(lines) == 1 and isinstance(lines[0], cst.BaseStatement) else None
        if inner is None or inner.before or inner.after:
            return None
        guards = [norm for _, norm, _ in inner.pairs if code(node.test) == f"self.{norm} is not None"]
        return _Use(inner.pairs, guard=guards[0]) if guards else None


def _taken_apart(target: str, value: cst.BaseExpression, call: cst.Call) -> _Use | None:
    """``target = f(self.norm(argument))``: argument, norm and ``f`` one by one."""
    norm, argument = self_attribute(call.func), call.args[0].value
    if call is value and isinstance(argument, cst.Name):
        return _Use(((target, norm, argument.value),))
    outside = transform(value, _Put(call, target)) if call is not value else None
    if outside is not None and list(variables(outside)).count(target) > 1:
        return None
    before = tuple(statements(f"{target} = {code(argument)}\n")) if not isinstance(argument, cst.Name) else ()
    after = tuple(statements(f"{target} = {code(outside)}\n")) if outside is not None else ()
    return _Use(((target, norm, argument.value if isinstance(argument, cst.Name) else target),), before, after)


class _Put(cst.CSTTransformer):
    """A name in place of one call."""

    def __init__(self, call: cst.Call, name: str) -> None:
        self.call, self.name = call, name

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return cst.Name(self.name) if original_node is self.call else updated_node


# ------------------------------------------------------------------------------------------------------------- moving
def _argument(
    between: Sequence[cst.BaseStatement], use: _Use, first: cst.BaseStatement
) -> list[cst.BaseStatement] | None:
    """Lines of ``between`` that have to go before ``first`` with the norms of ``use``; None if not all can."""
    targets = {target for target, _, _ in use.pairs}
    own = {name for _, _, value in use.pairs for name in variables(expression(value))}
    own |= targets | {name for line in use.before for name in variables(line)}
    needed, moved, kept = set(own), list[cst.BaseStatement](), [first]
    for line in reversed(between):
        if _writes(line) & needed:
            moved.insert(0, line)
            needed |= set(variables(line))
    for line in between:
        if all(line is not other for other in moved):
            kept.append(line)
        elif not _plain(line) or _disturbed(kept, _writes(line), set(variables(line))):
            return None
    return None if _disturbed(kept, targets, own) else moved


def _disturbed(lines: Iterable[cst.BaseStatement], written: set[str], mentioned: set[str]) -> bool:
    """Whether a computation cannot be moved over ``lines``."""
    return any(_opaque(line) or _writes(line) & mentioned or set(variables(line)) & written for line in lines)


def _plain(line: cst.BaseStatement) -> bool:
    """``name = value`` or ``a, b = value``."""
    pair = assignment(line)
    parts = [element.value for element in pair[0].elements] if pair and isinstance(pair[0], cst.Tuple) else []
    return pair is not None and all(isinstance(part, cst.Name) for part in parts or [pair[0]]) and not _opaque(line)


def _writes(node: cst.CSTNode) -> set[str]:
    """Variables that a statement binds."""
    found: set[str] = set()
    for part in walk(node):
        if isinstance(part, cst.AssignTarget | cst.AnnAssign | cst.AugAssign | cst.For | cst.CompFor | cst.NamedExpr):
            found |= set(variables(part.target))
        elif isinstance(part, cst.AsName):
            found |= set(variables(part.name))
    return found


def _opaque(node: cst.BaseStatement) -> bool:
    """Whether a statement may leave the block, or change an object in place."""
    for part in walk(node):
        if isinstance(part, _JUMPS) or (isinstance(part, cst.Expr) and not isinstance(part.value, cst.SimpleString)):
            return True
        targets = [part.target] if isinstance(part, cst.AssignTarget | cst.AugAssign) else []
        if isinstance(part, cst.AugAssign) or any(isinstance(t, cst.Attribute | cst.Subscript) for t in targets):
            return True
        name = dotted(part.func).rpartition(".")[2] if isinstance(part, cst.Call) else ""
        if name.endswith("_") and not name.endswith("__"):
            return True
    return False


def _led(line: cst.BaseStatement, made: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """``made`` with what stands before ``line``."""
    led = line.leading_lines if isinstance(line, cst.SimpleStatementLine | cst.If) else ()
    first = made[0]
    assert isinstance(first, cst.SimpleStatementLine | cst.If)
    return [first.with_changes(leading_lines=led), *made[1:]]


def _places(node: cst.ClassDef, names: set[str]) -> dict[str, frozenset[tuple[int, bool]]]:
    """Blocks of the class that set an attribute, and whether to None: equal for norms that are there together."""
    found: dict[str, set[tuple[int, bool]]] = {}
    for number, block in enumerate(part for part in walk(node) if isinstance(part, cst.IndentedBlock)):
        for line in block.body:
            small = single(line)
            for target in small.targets if isinstance(small, cst.Assign) else ():
                if (name := self_attribute(target.target)) in names and isinstance(small, cst.Assign):
                    found.setdefault(name, set()).add((number, code(small.value) == "None"))
    return {name: frozenset(places) for name, places in found.items()}
