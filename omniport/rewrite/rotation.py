"""Recognises a function that rotates the even and odd entries of a tensor by tables of its full width.

Entries ``2i`` and ``2i + 1`` of ``x`` become ``even * cos - odd * sin`` and ``even * sin + odd * cos``, where ``cos``
is read at the even places of its table and ``sin`` at the odd ones of its own.
"""

from __future__ import annotations

import ast
from collections import Counter

Sum = Counter[tuple[str, ...]]  # products of symbols, each with its sign


def rotates_pairs(source: str) -> bool:
    """Whether ``source`` is a function of ``x``, ``cos`` and ``sin`` that does this and nothing else."""
    function = ast.parse(source).body[0]
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return False
    names = [argument.arg for argument in function.args.args]
    spare = function.args
    if len(names) != 3 or spare.defaults or spare.vararg or spare.kwarg or spare.kwonlyargs or spare.posonlyargs:
        return False
    reader = _Reader(*names)
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return bool(body) and all(reader.line(line) for line in body[:-1]) and reader.result(body[-1])


class _Reader:
    def __init__(self, x: str, cos: str, sin: str) -> None:
        self.x, self.cos, self.sin = x, cos, sin
        self.symbols: dict[str, str] = {}
        self.out = ""
        self.stored: dict[str, Sum] = {}

    def line(self, node: ast.stmt) -> bool:
        """Follow a statement; False if it is none of a rotation's."""
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            return False
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Tuple):
            names = [ast.unparse(element) for element in target.elts]
            if ast.unparse(value) != f"{self.x}.unflatten(-1, (-1, 2)).unbind(-1)" or len(names) != 2:
                return False
            self.symbols |= {names[0]: "even", names[1]: "odd"}
            return self._new(names)
        if isinstance(target, ast.Name):
            text = ast.unparse(value)
            if text == f"torch.empty_like({self.x})" and not self.out:
                self.out = target.id
                return self._new([target.id])
            tables = {f"{self.cos}[..., 0::2]": "cos", f"{self.sin}[..., 1::2]": "sin"}
            if text not in tables:
                return False
            self.symbols[target.id] = tables[text]
            return self._new([target.id])
        place = ast.unparse(target).removeprefix(self.out)
        found = self._sum(value)
        if not self.out or place not in ("[..., 0::2]", "[..., 1::2]") or place in self.stored or found is None:
            return False
        self.stored[place] = found
        return True

    def _new(self, names: list[str]) -> bool:
        """Whether names are no parameters, which would be read anew."""
        return not {self.x, self.cos, self.sin} & set(names)

    def result(self, node: ast.stmt) -> bool:
        returned = ast.unparse(node)
        plain = returned in (f"return {self.out}.type_as({self.x})", f"return {self.out}")
        even: Sum = Counter({("cos", "even"): 1, ("odd", "sin"): -1})
        odd: Sum = Counter({("even", "sin"): 1, ("cos", "odd"): 1})
        return bool(self.out) and plain and self.stored == {"[..., 0::2]": even, "[..., 1::2]": odd}

    def _sum(self, node: ast.expr) -> Sum | None:
        """A sum or difference of two products of two symbols."""
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Sub):
            return None
        left, right = self._product(node.left), self._product(node.right)
        if left is None or right is None or left == right:
            return None
        return Counter({left: 1, right: 1 if isinstance(node.op, ast.Add) else -1})

    def _product(self, node: ast.expr) -> tuple[str, ...] | None:
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
            return None
        factors = [self.symbols.get(ast.unparse(side), "") for side in (node.left, node.right)]
        return tuple(sorted(factors)) if all(factors) else None
