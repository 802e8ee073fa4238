"""What conditions say of the values on either path, and paths that end where a condition is asserted."""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.sequence.conditions import asked, ranked
from omniport.analyse.sequence.dicts import DictRules
from omniport.analyse.sequence.records import Form, Record
from omniport.analyse.shapes import Const, Num, Opaque, Tensor


class PathRules(DictRules):
    """The rules."""

    record: Record
    forms: dict[str, Form]
    tested: set[int]  # serials of tensors whose rank a condition asks for

    def statement(self, node: ast.stmt, env: Env) -> bool:
        """``assert x is not None`` where it is None: the program does not come further."""
        if isinstance(node, ast.Assert) and self.truth(self.eval_or_give_up(node.test, env), node.test) is False:
            return True
        return super().statement(node, env)

    def branch(self, node: ast.If, env: Env) -> bool:
        """Conditions on a module's own attributes come out alike wherever the module asks again."""
        condition = asked(node.test)
        if condition is None or self.truth(self.eval_or_give_up(node.test, env), node.test) is not None:
            return super().branch(node, env)
        attribute, set_ = condition
        key = f"if {self.instance.cls}.{attribute}"
        self.record.choices.setdefault(key, set()).add(node.lineno)
        given = self.forms.get(key)
        if isinstance(given, bool):
            return self.block(node.body if given == set_ else node.orelse, env)
        return super().branch(node, env)

    def assume(self, test: ast.expr, taken: Env, other: Env) -> None:
        """``x is not None``: on the other path it is None.  ``x.ndim == 2``: on this path it has that rank."""
        parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
        if parts[1:] and all(self.truth(self.eval_or_give_up(part, other), part) for part in parts[1:]):
            self.assume(parts[0], taken, other)  # where the whole does not hold, this part does not
        for part in parts:
            name, rank = ranked(part)
            if (
                rank is not None
                and isinstance(x := taken.get(name), Tensor)
                and x.dims is None
                and not self.record.seeds
            ):
                self.tested.add(x.serial)
                taken[name] = self.of_rank(x, rank)
        if not isinstance(test, ast.Compare) or not isinstance(test.left, ast.Name) or test.left.id not in taken:
            return
        if isinstance(test.ops[0], ast.Is | ast.IsNot) and getattr(test.comparators[0], "value", ...) is None:
            path = other if isinstance(test.ops[0], ast.IsNot) else taken
            path[test.left.id] = Const(None)

    def join_known(self, a: Any, b: Any) -> Any:
        """A number or flag on one path, and one that a tensor holds on the other."""
        for one, other in ((a, b), (b, a)):
            number = isinstance(other, Num | Opaque | Const) and other != Const(None)
            if number and isinstance(one, Tensor) and one.dims == ():
                return Tensor(())
        return super().join_known(a, b)
