"""What happens to a statement that is not followed: it takes whole values only, and nothing is known of its results.

So a construct without a rule costs the sharding of what flows through it, never the port.
"""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse.expressions import Env, Expressions, text
from omniport.analyse.facts import Demand
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Either, Instance, Method, Modules, Num, Opaque, Seq, Tensor, modules_in
from omniport.errors import UnsupportedError
from omniport.source.nodes import each_node, methods


class Lenient(Expressions):
    """Gives up single expressions and statements."""

    building: int  # depth of constructors that run
    undecided: int  # depth of branches that may not be taken

    def eval_or_give_up(self, node: ast.expr, env: Env) -> Any:
        """The value of an expression, unknown if it cannot be followed."""
        state = self.mark()
        try:
            return self.eval(node, env)
        except UnsupportedError as error:
            self.reset(state)
            self.give_up(node, env, error)
            return Tensor(None)

    def give_up(self, node: ast.AST, env: Env, error: UnsupportedError) -> None:
        """Demand that all that goes into ``node`` is whole; what it binds is unknown from here on."""
        what = f"{error.construct} is not followed and"
        self.facts.given_up.setdefault((error.file, error.line), error.construct)
        self.line = getattr(node, "lineno", self.line)
        chains = list(_chains(node))
        values = [value for chain in chains if (value := self.peek(chain, env)) is not None]
        if not self.building:
            keys = {m.key for value in values for m in modules_in(value) if not isinstance(m, Instance)}
            fresh = frozenset(key for key in keys if key[0] not in self.imported) - self.decisions.whole.keys()
            if fresh := frozenset(fresh):
                raise Demand(fresh, f"{what} it may use the module in any way", self.line)
        self.unknown([value for value in values if isinstance(value, Tensor | Seq)], what)
        for target in each_node(node):
            if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                env[target.id] = Tensor(None)
            elif isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store):
                owner = self.peek(target.value, env)
                if isinstance(owner, Instance):
                    owner.attributes[target.attr] = Opaque(text(target))

    def peek(self, node: ast.AST, env: Env) -> Any:
        """The value of a chain of names, attributes and constant indices, read without following anything."""
        if isinstance(node, ast.Name):
            return env.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.peek(node.value, env)
            if isinstance(owner, Instance):
                return owner.attributes.get(node.attr, owner if self.has_method(owner, node.attr) else None)
            return owner
        if isinstance(node, ast.Subscript):
            return self.peek(node.value, env)
        return None

    def peek_number(self, node: ast.expr, env: Env) -> Poly | None:
        """The number that a name, an attribute or a constant stands for."""
        value = self.eval(node, env) if isinstance(node, ast.Name | ast.Attribute | ast.Constant) else None
        return value.poly if isinstance(value, Num) else None

    def compared(self, test: ast.expr, env: Env) -> list[Poly]:
        """How much larger one side of a comparison of numbers is than the other, both ways."""
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return []
        sides = [self.peek_number(side, env) for side in (test.left, test.comparators[0])]
        pairs = [(a, b) for a in sides for b in sides if a is not None and b is not None and a != b]
        return [ratio for a, b in pairs if (ratio := a.quotient(b)) is not None]

    def has_method(self, owner: Instance, name: str) -> bool:
        return name in methods(self.classes[owner.cls])

    def mark(self) -> tuple[Any, ...]:
        """What a failed walk leaves behind has to be put back."""
        return len(self.returns), getattr(self, "instance", None), self.line, self.loops, self.building, self.undecided

    def reset(self, state: tuple[Any, ...]) -> None:
        depth, self.instance, self.line, self.loops, self.building, self.undecided = state
        del self.returns[depth:]

    def widen(self, before: Any, after: Any, name: str) -> Any:
        """What a loop variable may be that changes from round to round."""
        if isinstance(before, Tensor) and isinstance(after, Tensor):
            alike = before.dims is not None and after.dims is not None and len(before.dims) == len(after.dims)
            return self.unknown(
                (before, after), f"{name} changes in a loop and", len(before.dims or ()) if alike else None
            )
        if isinstance(before, Num | Opaque) and isinstance(after, Num | Opaque):
            return Opaque(name)
        return self.unknown(
            [v for v in (before, after) if isinstance(v, Tensor | Seq)], f"{name} changes in a loop and"
        )

    def iterate(self, value: Any, node: ast.AST) -> tuple[list[Any], bool]:
        """Items of an iterable, and whether there are unknown many that look like the first."""
        if isinstance(value, Modules) and value.many and len(value.items) > 1:
            return [Either(value.items)], True
        if isinstance(value, Seq | Modules):
            return value.items, value.many
        if isinstance(value, Either) and all(isinstance(item, Modules) for item in value.items):
            return [Either([i for item in value.items for i in item.items])], True
        if isinstance(value, Tensor):
            rank = len(value.dims) - 1 if value.dims else None
            return [self.unknown((value,), "iteration over a tensor", rank)], True
        if isinstance(value, Opaque | Num | Method):
            return [Opaque(f"item of {text(node)}")], True
        raise self.unsupported(f"iteration over {text(node.iter) if isinstance(node, ast.For) else text(node)}", node)


def _chains(node: ast.AST) -> list[ast.expr]:
    """The longest chains of names, attributes and subscripts that are read in ``node``."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        found: list[ast.expr] = [node]
        base: ast.expr = node
        while isinstance(base, ast.Attribute | ast.Subscript):
            if isinstance(base, ast.Subscript):
                found += _chains(base.slice)
            base = base.value
        return found if isinstance(base, ast.Name) else found[1:] + _chains(base)
    return [chain for child in ast.iter_child_nodes(node) for chain in _chains(child)]
