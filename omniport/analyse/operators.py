"""Operators of a normal form: arithmetic, comparisons, conditions and choices."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from omniport.analyse.facts import UnfitError
from omniport.analyse.ops import tensors_in
from omniport.analyse.poly import PER_RANK, RANKS, Poly
from omniport.analyse.shapes import Const, Either, Instance, Leaf, Modules, Num, Opaque, Seq, Tensor
from omniport.analyse.slices import Slices
from omniport.analyse.syntax import text

Env = dict[str, Any]


def _counts(value: Any) -> bool:
    """Whether a value is the index of an item among unknown many."""
    return isinstance(value, Num) and any(atom.startswith(("range@", "index@")) for atom in value.poly.atoms)


class Operators(Slices):
    """Evaluates operators; ``eval`` evaluates what they are applied to."""

    picked: bool | None  # how the comparisons with the index of a block turn out
    optional: dict[int, Any]
    building: int
    asked_of: set[str]
    eval: Callable[[ast.expr, Env], Any]
    join: Callable[..., Any]

    def eval_ifexp(self, node: ast.IfExp, env: Env) -> Any:
        decided = self.truth(self.eval(node.test, env), node.test)
        if decided is not None:
            return self.eval(node.body if decided else node.orelse, env)
        results = []
        for branch in (node.body, node.orelse):
            try:
                results.append(self.eval(branch, env))
            except UnfitError:  # the configuration never leads here
                continue
        if not results:
            raise self.unsupported(f"call {text(node)}", node)
        return self.join(*results) if len(results) > 1 else results[0]

    def eval_boolop(self, node: ast.BoolOp, env: Env) -> Any:
        values = [self.eval(value, env) for value in node.values]
        decided = [self.truth(value, node) for value in values]
        stop = isinstance(node.op, ast.Or)
        for value, known in zip(values, decided, strict=True):
            if known is stop:
                return value
            if known is None:
                break
        else:
            return values[-1]
        if tensors_in(values):
            return self.unknown(values, f"a choice between tensors {text(node)}")
        numbers = all(isinstance(value, Num | Opaque) for value in values)
        if all(isinstance(value, Num) for value in values):
            sizes = [value.poly for value in values]
            self.facts.choices[text(node)] = tuple(sizes[:1] if sizes[0].atoms else sizes)  # a size that is given
        return Num(Poly.of(text(node))) if numbers and not isinstance(values[-1], Opaque) else Opaque(text(node))

    def eval_unaryop(self, node: ast.UnaryOp, env: Env) -> Any:
        value = self.eval(node.operand, env)
        if isinstance(node.op, ast.Not):
            known = self.truth(value, node)
            return Opaque(text(node)) if known is None else Const(not known)
        if isinstance(value, Num) and isinstance(node.op, ast.USub):
            return Num(Poly.of(0) - value.poly)
        return self.combine([value]) if isinstance(value, Tensor) else value

    def eval_compare(self, node: ast.Compare, env: Env) -> Any:
        left, right = self.eval(node.left, env), self.eval(node.comparators[0], env)
        operator = node.ops[0]
        if self.picked is not None and any(_counts(side) for side in (left, right)):
            return Const(self.picked)
        if len(node.ops) > 1:
            return Opaque(text(node))
        if isinstance(operator, ast.Is | ast.IsNot) and isinstance(right, Const) and right.value is None:
            if isinstance(left, Opaque | Num) or id(left) in self.optional:
                return Opaque(text(node))
            if isinstance(left, Tensor) and left.dims is None:
                return Opaque(text(node))
            none = isinstance(left, Const) and left.value is None
            return Const(none == isinstance(operator, ast.Is))
        if tensors_in([left, right]):
            return self.combine([left, right])
        if not (isinstance(left, Num) and isinstance(right, Num) and self.per_rank(left, right)):
            self.counted((left, right), "compares", heads=isinstance(operator, ast.Lt | ast.Gt | ast.LtE | ast.GtE))
        if isinstance(left, Num) and isinstance(right, Num):
            a, b = left.poly.constant, right.poly.constant
            if left.poly == right.poly and isinstance(operator, ast.Eq | ast.NotEq):
                return Const(isinstance(operator, ast.Eq))
            if a is not None and b is not None:
                table: dict[type, bool] = {ast.Eq: a == b, ast.NotEq: a != b, ast.Lt: a < b, ast.Gt: a > b}
                table |= {ast.LtE: a <= b, ast.GtE: a >= b}
                if type(operator) in table:
                    return Const(table[type(operator)])
        if isinstance(left, Const) and isinstance(right, Const) and isinstance(operator, ast.Eq | ast.NotEq):
            return Const((left.value == right.value) == isinstance(operator, ast.Eq))
        return Opaque(text(node))

    @staticmethod
    def per_rank(left: Num, right: Num) -> bool:
        """Whether both numbers count what a rank holds: they compare as those of all ranks do."""
        return all(RANKS in monomial for side in (left, right) for monomial, _ in side.poly.terms)

    def truth(self, value: Any, node: ast.AST) -> bool | None:
        """The truth of a condition, None if it is not known."""
        if isinstance(value, Const):
            return bool(value.value)
        if isinstance(value, Num) and value.poly.constant is not None:
            return bool(value.poly.constant)
        if isinstance(value, Tensor):
            self.unknown((value,), f"the condition {text(node)}")
        module = isinstance(value, Instance | Leaf | Modules | Either) and id(value) not in self.optional
        return True if module else None

    def eval_binop(self, node: ast.BinOp, env: Env) -> Any:
        left, right = self.eval(node.left, env), self.eval(node.right, env)
        if isinstance(node.op, ast.FloorDiv) and isinstance(left, Num) and isinstance(right, Num):
            right = self.whole_heads(node, left, right)
        if isinstance(node.op, ast.MatMult):
            return self.matmul(left, right)
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            self.counted((left, right), "computes with")
            return self.combine(self.of_rank_too(node, left, right))
        if isinstance(left, Seq) and isinstance(right, Seq) and isinstance(node.op, ast.Add):
            return Seq([*left.items, *right.items], left.many or right.many)
        a, b = (
            Poly.of(v.text) if isinstance(v, Opaque) else v.poly if isinstance(v, Num) else None for v in (left, right)
        )
        if a is None or b is None:
            return Opaque(text(node))
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            return Num(a + b if isinstance(node.op, ast.Add) else a - b if isinstance(node.op, ast.Sub) else a * b)
        quotient = a.quotient(b) if isinstance(node.op, ast.FloorDiv | ast.Div) else None
        exact = isinstance(node.op, ast.Div) or not self.building  # a forward halves what has two halves
        if quotient is not None and (exact or quotient.integral):
            return Num(quotient)
        atom = f"({a}) {type(node.op).__name__} ({b})"
        if quotient is not None:
            self.floors[atom] = quotient
        return Num(Poly.of(atom))

    def whole_heads(self, node: ast.BinOp, width: Num, count: Num) -> Num:
        """``self.inner_dim // self.heads``: the whole width, so all heads; the port keeps the expression as it is."""
        own = isinstance(node.right, ast.Attribute) and (self.instance.cls, node.right.attr) in self.decisions.local
        if self.building or not own or RANKS in width.poly.atoms:
            return count
        self.facts.whole_heads[self.instance.cls, text(node)] = self.line
        return Num(count.poly.quotient(PER_RANK) or count.poly)
