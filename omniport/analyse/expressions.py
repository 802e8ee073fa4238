"""Expressions of a normal form without calls: names, attributes, arithmetic, subscripts."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from omniport.analyse.ops import TensorOps, tensors_in
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import (
    Const,
    Dim,
    Function,
    Instance,
    Leaf,
    Method,
    Modules,
    Num,
    Opaque,
    Seq,
    Tensor,
)
from omniport.errors import UnsupportedError

Env = dict[str, Any]


def text(node: ast.AST) -> str:
    """Source text, shortened for messages."""
    return ast.unparse(node)


class Expressions(TensorOps):
    """Evaluates expressions; calls are added by ``calls.Calls``, statements and module bodies by ``dataflow.Walk``."""

    classes: dict[str, ast.ClassDef]
    functions: dict[str, ast.FunctionDef]
    optional: set[int]
    imported: set[str]
    attempt: Callable[..., Any]
    bring: Callable[[str], ast.ClassDef | ast.FunctionDef | None]
    run_function: Callable[..., Any]
    loops: int
    bind: Callable[..., Env]
    body: Callable[..., Any]
    construct: Callable[..., None]
    method_of: Callable[..., ast.FunctionDef]
    call_module: Callable[..., Any]
    logged: Callable[..., Any]
    iterate: Callable[..., tuple[list[Any], bool]]
    join: Callable[..., Any]
    assign: Callable[..., None]
    unsupported: Callable[..., UnsupportedError]

    def eval(self, node: ast.expr, env: Env) -> Any:
        """The abstract value of an expression."""
        handler = getattr(self, f"eval_{type(node).__name__.lower()}", None)
        if handler is None:
            raise self.unsupported(f"expression {text(node)}", node)
        return handler(node, env)

    # --------------------------------------------------------------------------------------------------------- simple
    def eval_constant(self, node: ast.Constant, env: Env) -> Any:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Num(Poly.of(node.value))
        return ... if node.value is ... else Const(node.value)

    def eval_name(self, node: ast.Name, env: Env) -> Any:
        return env[node.id] if node.id in env else Function(node.id)

    def eval_tuple(self, node: ast.Tuple | ast.List, env: Env) -> Any:
        return Seq([self.eval(element, env) for element in node.elts])

    eval_list = eval_tuple

    def eval_joinedstr(self, node: ast.JoinedStr, env: Env) -> Any:
        return Opaque(text(node))

    def eval_dict(self, node: ast.Dict, env: Env) -> Any:
        values = [self.eval(value, env) for value in node.values]
        if tensors_in(values):
            raise self.unsupported(f"a dict of tensors {text(node)}", node)
        return Opaque(text(node))

    def eval_ifexp(self, node: ast.IfExp, env: Env) -> Any:
        decided = self.truth(self.eval(node.test, env), node.test)
        if decided is not None:
            return self.eval(node.body if decided else node.orelse, env)
        return self.join(self.eval(node.body, env), self.eval(node.orelse, env))

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
            raise self.unsupported(f"a choice between tensors {text(node)}", node)
        numbers = all(isinstance(value, Num | Opaque) for value in values)
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
        if len(node.ops) > 1:
            return Opaque(text(node))
        if isinstance(operator, ast.Is | ast.IsNot) and isinstance(right, Const) and right.value is None:
            if isinstance(left, Opaque) or (isinstance(left, Tensor) and left.serial in self.optional):
                return Opaque(text(node))
            none = isinstance(left, Const) and left.value is None
            return Const(none == isinstance(operator, ast.Is))
        if tensors_in([left, right]):
            return self.combine([left, right])
        self.counted((left, right), "compares")
        if isinstance(left, Num) and isinstance(right, Num):
            a, b = left.poly.constant, right.poly.constant
            if a is not None and b is not None:
                table: dict[type, bool] = {ast.Eq: a == b, ast.NotEq: a != b, ast.Lt: a < b, ast.Gt: a > b}
                table |= {ast.LtE: a <= b, ast.GtE: a >= b}
                if type(operator) in table:
                    return Const(table[type(operator)])
        if isinstance(left, Const) and isinstance(right, Const) and isinstance(operator, ast.Eq | ast.NotEq):
            return Const((left.value == right.value) == isinstance(operator, ast.Eq))
        return Opaque(text(node))

    def truth(self, value: Any, node: ast.AST) -> bool | None:
        """The truth of a condition, None if it is not known."""
        if isinstance(value, Const):
            return bool(value.value)
        if isinstance(value, Num) and value.poly.constant is not None:
            return bool(value.poly.constant)
        if isinstance(value, Tensor):
            self.unknown((value,), f"the condition {text(node)}")
        return True if isinstance(value, Instance | Leaf | Modules) else None

    def eval_binop(self, node: ast.BinOp, env: Env) -> Any:
        left, right = self.eval(node.left, env), self.eval(node.right, env)
        if isinstance(node.op, ast.MatMult):
            return self.unknown((left, right), "a matrix product")
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            self.counted((left, right), "computes with")
            return self.combine([left, right])
        if isinstance(left, Seq) and isinstance(right, Seq) and isinstance(node.op, ast.Add):
            return Seq([*left.items, *right.items], left.many or right.many)
        a, b = (
            Poly.of(v.text) if isinstance(v, Opaque) else v.poly if isinstance(v, Num) else None for v in (left, right)
        )
        if a is None or b is None:
            return Opaque(text(node))
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            return Num(a + b if isinstance(node.op, ast.Add) else a - b if isinstance(node.op, ast.Sub) else a * b)
        quotient = a.divide(b) if isinstance(node.op, ast.FloorDiv | ast.Div) else None
        if quotient is not None and (isinstance(node.op, ast.Div) or quotient.integral):
            return Num(quotient)
        return Num(Poly.of(f"({a}) {type(node.op).__name__} ({b})"))

    # ------------------------------------------------------------------------------------------------ attributes, items
    def eval_attribute(self, node: ast.Attribute, env: Env) -> Any:
        owner, name = self.eval(node.value, env), node.attr
        if isinstance(owner, Instance):
            if name in owner.attributes:
                return owner.attributes[name]
            if any(isinstance(n, ast.FunctionDef) and n.name == name for n in self.classes[owner.cls].body):
                return Method(owner, name)
            raise self.unsupported(f"{text(node)} is not set by the constructor", node)
        if isinstance(owner, Function):
            return Function(f"{owner.name}.{name}")
        if isinstance(owner, Tensor):
            if name == "shape" and owner.dims is not None:
                return Seq([Num(self.size_read(dim)) for dim in owner.dims])
            if name in ("ndim",) and owner.dims is not None:
                return Num(Poly.of(len(owner.dims)))
            if name in ("dtype", "device", "is_cuda", "requires_grad", "shape", "ndim"):
                return Opaque(text(node))
            if name == "T":
                return self.unknown((owner,), text(node))
        return Method(owner, name)

    def size_read(self, dim: Dim) -> Poly:
        """The size of a dimension as the program sees it: a sharded one has no global size on a rank."""
        if not dim.parts:
            return dim.size
        name = f"local({dim.size})"
        self.local[name] = dim
        return Poly.of(name)

    def eval_subscript(self, node: ast.Subscript, env: Env) -> Any:
        owner = self.eval(node.value, env)
        if isinstance(owner, Tensor):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return self.index(owner, [self.subscript(part, env) for part in parts])
        at = self.eval(node.slice, env) if not isinstance(node.slice, ast.Slice) else None
        if isinstance(owner, Seq | Modules) and not owner.many and isinstance(at, Num) and at.poly.constant is not None:
            return owner.items[int(at.poly.constant)]
        if isinstance(owner, Seq | Modules) and owner.many:
            return owner.items[0]
        if isinstance(owner, Opaque):
            return Num(Poly.of(text(node)))
        raise self.unsupported(f"subscript {text(node)}", node)

    def subscript(self, part: ast.expr, env: Env) -> Any:
        if isinstance(part, ast.Slice):
            if part.step is not None:
                return Opaque("step")
            low, high = (self.eval(bound, env) if bound else None for bound in (part.lower, part.upper))
            return (low, high)
        return self.eval(part, env)

    def eval_listcomp(self, node: ast.ListComp, env: Env) -> Any:
        (loop,) = node.generators[:1]
        if len(node.generators) != 1 or loop.ifs:
            raise self.unsupported(f"comprehension {text(node)}", node)
        items, many = self.iterate(self.eval(loop.iter, env), loop.iter)
        results = []
        for item in items:
            inner = dict(env)
            self.assign(loop.target, item, inner)
            results.append(self.eval(node.elt, inner))
        return Seq(results, many)

    eval_generatorexp = eval_listcomp
