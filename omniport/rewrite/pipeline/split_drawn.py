"""Values that a helper doubles and the call then draws from: one draw of both sides, halved behind it.

The two sides of such a value are equal before the draw and not after it, so that the helper must go on doubling.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, indented, parse, reads, statements, suite
from omniport.rewrite.pipeline.split_parts import Expression, sides, text
from omniport.rewrite.pipeline.split_sides import Sides
from omniport.source.syntax import code, dotted
from omniport.source.walk import walk


class Drawn(Sides):
    """Sides with the values of which a draw is made."""

    def drawn(self, node: cst.SimpleStatementLine, target: cst.BaseExpression, value: Expression) -> Block | None:
        """R8: the statements in the place of ``target = value`` where a draw from a doubled value is near."""
        name = text(target)
        if not isinstance(target, cst.Name):
            return None
        if name in self.whole and name in reads(value):
            guard, order = self.whole.pop(name), self.order or self._only_order()
            if not _draws(value) or not order:
                raise self.refuse(f"{code(node).strip()} reads what a helper doubled, and draws from it later")
            self.created(order, guard)
            twin = self.twin(target, None)
            self.pair(target, twin)
            halves = f"{twin}, {name}" if order == "np" else f"{name}, {twin}"
            lines = parse(f"{halves} = {name}.chunk(2)\n")
            return [node, cst.If(test=cst.parse_expression(guard), body=indented(lines))]
        flag = self._flag(value)
        if flag is not None and self._is_drawn(name):
            self.clear(target)
            self.whole[name] = flag
            return [node]
        return None

    def _flag(self, value: Expression) -> str | None:
        """The condition that a helper, whose flag only doubles, is given as its flag."""
        if not isinstance(value, cst.Call) or (dotted(value.func) or "")[5:] not in self.flags:
            return None
        position, name = self.flags[(dotted(value.func) or "")[5:]]
        for index, argument in enumerate(value.args):
            if argument.keyword.value == name if argument.keyword else index == position:
                return text(argument.value)
        return None

    def _only_order(self) -> str:
        """The order in which the function joins sides, if it is one; empty otherwise."""
        found = {both[2] for n in walk(self.function) if isinstance(n, cst.Call) and (both := sides(n)) is not None}
        return found.pop() if len(found) == 1 else ""

    def _is_drawn(self, name: str) -> bool:
        """Whether the call draws from the value of a name."""
        for line in statements(suite(self.function.body)):
            for small in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                if isinstance(small, cst.Assign) and name in reads(small.value) and _draws(small.value):
                    return True
        return False


def _draws(value: Expression) -> bool:
    return any(
        isinstance(n, cst.Call) and isinstance(n.func, cst.Attribute) and n.func.attr.value == "sample"
        for n in walk(value)
    )
