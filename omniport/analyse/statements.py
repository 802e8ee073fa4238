"""Statements: one after the other, a branch that is not decided both ways, a loop over blocks until it is stable."""

from __future__ import annotations

import ast
import functools
from typing import Any

from omniport.analyse.axis_tests import UNKNOWN, asks_axes
from omniport.analyse.expressions import Env, text
from omniport.analyse.facts import UnfitError
from omniport.analyse.joins import Joins
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import Closure, Const, Either, Instance, Method, Num, Opaque, Seq, Tensor, adopt, same
from omniport.errors import UnsupportedError
from omniport.source.nodes import each_node

_WITHOUT_EFFECT = ast.Pass | ast.Assert | ast.Import | ast.ImportFrom | ast.Continue | ast.Break | ast.Delete
_LOOPS = 6  # a loop over blocks is stable after the second pass


class Statements(Joins):
    """Follows the statements of a body under the values of its names."""

    def block(self, body: list[ast.stmt], env: Env) -> bool:
        """Run statements; True if control does not leave at their end."""
        for node in body:
            self.line = node.lineno
            if self.follow(node, env):
                return True
        return False

    def follow(self, node: ast.stmt, env: Env) -> bool:
        """A statement; what cannot be followed is given up."""
        state = self.mark()
        try:
            return self.statement(node, env)
        except UnfitError as error:
            self.reset(state)
            if not self.undecided:
                self.give_up(node, env, error)
            return self.undecided > 0  # a branch that the configuration never takes
        except UnsupportedError as error:
            self.reset(state)
            self.give_up(node, env, error)
            if not any(isinstance(inner, ast.Return) for inner in each_node(node)):
                return False
            self.returns[-1].append(Tensor(None))
            return isinstance(node, ast.Return)

    def statement(self, node: ast.stmt, env: Env) -> bool:
        if isinstance(node, ast.Assign):
            value = self.eval(node.value, env)
            for target in node.targets:
                self.assign(target, value, env)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.assign(node.target, self.eval(node.value, env), env)
        elif isinstance(node, ast.AugAssign):
            self.assign(node.target, self.eval(_operation(node), env), env)
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):
                self.eval(node.value, env)
        elif isinstance(node, ast.Return):
            self.returns[-1].append(self.eval(node.value, env) if node.value else Const(None))
            return True
        elif isinstance(node, ast.If):
            return self.branch(node, env)
        elif isinstance(node, ast.For):
            self.loop(node, env)
        elif isinstance(node, ast.Raise):
            return True
        elif isinstance(node, ast.FunctionDef):
            env[node.name] = Closure(node, env)
        elif isinstance(node, ast.With):
            for item in node.items:
                self.eval_or_give_up(item.context_expr, env)
            return self.block(node.body, env)
        elif not isinstance(node, _WITHOUT_EFFECT):
            raise self.unsupported(f"statement {type(node).__name__}", node)
        return False

    def assign(self, target: ast.expr, value: Any, env: Env) -> None:
        if isinstance(value, Either) and isinstance(target, ast.Tuple):
            fits = [v for v in value.items if isinstance(v, Seq) and len(v.items) == len(target.elts)]
            value = fits[0] if fits else value
            for other in fits[1:]:
                value = self.join(value, other)
        if isinstance(target, ast.Name):
            env[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            items = value.items if isinstance(value, Seq) and not value.many else None
            if items is None and isinstance(value, Tensor):
                rank = len(value.dims) - 1 if value.dims else None
                items = [self.unknown((value,), "unpacking a tensor", rank)] * len(target.elts)
            elif items is None and isinstance(value, Opaque | Num | Method | Seq):
                items = [value.items[0] if isinstance(value, Seq) else Opaque(f"{text(target)}")] * len(target.elts)
                if isinstance(value, Opaque) and ".shape of" in value.text:
                    items = [Num(Poly.of(f"{value.text}[{at}]")) for at in range(len(target.elts))]
            stars = [i for i, e in enumerate(target.elts) if isinstance(e, ast.Starred)]
            if items is not None and stars and isinstance(value, Seq):
                at, rest = stars[0], len(target.elts) - stars[0] - 1
                items = [*items[:at], Seq(items[at : len(items) - rest]), *items[len(items) - rest :]]
            if items is None or len(items) != len(target.elts):
                raise self.unsupported(f"cannot unpack {text(target)}", target)
            for element, item in zip(target.elts, items, strict=True):
                self.assign(element.value if isinstance(element, ast.Starred) else element, item, env)
        elif isinstance(target, ast.Subscript) and isinstance(owner := self.eval(target.value, env), Tensor):
            self.store(owner, target, value, env)
        elif isinstance(target, ast.Attribute) and isinstance(owner := self.eval(target.value, env), Instance):
            owner.attributes[target.attr] = value
            adopt(value, owner, target.attr)
        else:
            raise self.unsupported(f"assignment to {text(target)}", target)

    def store(self, owner: Tensor, target: ast.Subscript, value: Any, env: Env) -> None:
        """``owner[...] = value``: the value is sharded and walks as the part of ``owner`` that it replaces."""
        part = self.eval(target, env)
        if isinstance(value, Tensor) and isinstance(part, Tensor) and part.dims is not None:
            self.combine([part, value])
        else:
            self.unknown((owner, value), "an assignment to a part of a tensor")

    def branch(self, node: ast.If, env: Env) -> bool:
        decided = self.truth(self.eval_or_give_up(node.test, env), node.test)
        if (name := asks_axes(node.test)) and not self.building:
            self.count_axes(node, decided, env.get(name))
        if decided is not None:
            return self.block(node.body if decided else node.orelse, env)
        instance, before = self.instance, dict(self.instance.attributes)
        other = dict(env)
        self.assume(node.test, env, other)
        self.undecided += 1
        ended = self.block(node.body, env)
        after, instance.attributes = instance.attributes, before
        other_ended = self.block(node.orelse, other)
        self.undecided -= 1
        self.ratios = self.compared(node.test, other)
        for name, value in after.items():
            met = instance.attributes.get(name, Const(None))
            instance.attributes[name] = value if met is value else self.join(value, met)
        if ended and not other_ended:
            env.clear()
            env.update(other)
        elif not ended and not other_ended:
            for name, value in other.items():
                if name not in env:
                    env[name] = value
                elif env[name] is not value and self.read_again(name):
                    env[name] = self.join(env[name], value)
        self.ratios = []
        return ended and other_ended

    def count_axes(self, node: ast.If, decided: bool | None, value: Any) -> None:
        """Note what a condition on the number of axes of ``value`` is here."""
        key = (self.instance.cls, text(node.test), node.lineno)
        origins = value.origins if isinstance(value, Tensor) else None
        self.facts.axis_tests.setdefault(key, set()).add((decided, origins or UNKNOWN))

    def read_again(self, name: str) -> bool:
        """Whether ``name`` may be read behind a condition whose paths meet."""
        return True

    def assume(self, test: ast.expr, taken: Env, other: Env) -> None:
        """What an undecided condition says of the values on either path."""

    def loop(self, node: ast.For, env: Env) -> None:
        items, many = self.iterate(self.eval_or_give_up(node.iter, env), node)
        if many and not items:
            return
        if not many:
            for item in items:
                self.assign(node.target, item, env)
                self.block(node.body, env)
            return
        self.loops += 1
        own = {name.id for name in each_node(node.target) if isinstance(name, ast.Name)}
        for turn in range(_LOOPS):
            before = {name: self.now(value) for name, value in env.items() if name not in own}
            self.assign(node.target, items[0], env)
            self.block(node.body, env)
            stable = True
            for name, value in before.items():
                wide = turn > 1 and not same(value, env[name])
                met = self.widen(value, env[name], name) if wide else self.join(env[name], value)
                stable &= same(value, met if wide else env[name])
                env[name] = met
            if stable:
                break
        else:
            raise self.unsupported(f"a loop that changes the shape of its values: for {text(node.target)}", node)
        self.loops -= 1

    def now(self, value: Any) -> Any:
        """A value in front of a round of a loop, to be compared with the one behind it."""
        return value


@functools.lru_cache(maxsize=500)
def _operation(node: ast.AugAssign) -> ast.BinOp:
    """What an augmented assignment assigns."""
    target = ast.parse(text(node.target), mode="eval").body
    return ast.copy_location(ast.BinOp(target, node.op, node.value), node)
