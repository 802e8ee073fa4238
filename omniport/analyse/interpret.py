"""Abstract interpretation of a reference transformer, from the root class through every module it builds and calls.

It answers, for each condition and each name in the classes that a port brings in, what they always are, given only what
the sources themselves fix: literal arguments, defaults that no call overrides, and the facts of :mod:`.knowledge`.
Constructor facts make variants of a class; forward facts are joined over all calls of a variant, to a fixpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.binding import Env
from omniport.analyse.evaluate import Evaluator
from omniport.analyse.values import NONE, PRESENT, UNKNOWN, Value, join, truth
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind


class Interpreter(Evaluator):
    """Interprets the functions of one variant, statement by statement."""

    def function(self, node: cst.FunctionDef, env: Env) -> Value:
        """Run ``node`` with its parameters bound in ``env``; the join of what it returns."""
        outer, self.returned = self.returned, []
        self.depth += 1
        if self.depth < 20:
            falls = self.block(node.body.body, env)
            if falls or not self.returned:
                self.returned.append(NONE)
        result = functools.reduce(join, self.returned) if self.returned else UNKNOWN
        self.depth -= 1
        self.returned = outer
        return result

    def block(self, body: Iterable[cst.CSTNode], env: Env) -> bool:
        """Run statements; False if control cannot reach their end."""
        return all(self.statement(statement, env) for statement in body)

    def statement(self, node: cst.CSTNode, env: Env) -> bool:
        if isinstance(node, cst.SimpleStatementLine):
            return all(self.small(part, env) for part in node.body)
        if isinstance(node, cst.If):
            return self.branch(node, env)
        if isinstance(node, cst.For):
            element = self.element(self.value(node.iter, env))
            for _ in range(2):
                before = dict(env)
                self.assign(node.target, element, env)
                self.block(node.body.body, env)
                self.merge(env, before)
            return True
        if isinstance(node, cst.With):
            for item in node.items:
                self.value(item.item, env)
            return self.block(node.body.body, env)
        if isinstance(node, cst.While | cst.Try):
            before = dict(env)
            self.block(node.body.body, env)
            self.merge(env, before)
            return True
        if isinstance(node, cst.FunctionDef):
            env[node.name.value] = PRESENT
        return True

    def small(self, node: cst.BaseSmallStatement, env: Env) -> bool:
        if isinstance(node, cst.Assign):
            self.variant.assigning = (dotted(node.targets[0].target) or "").removeprefix("self.")
            value = self.value(node.value, env)
            self.variant.assigning = ""
            self.notes.note(self.notes.values, node.value, value)
            for target in node.targets:
                self.assign(target.target, value, env)
        elif isinstance(node, cst.AnnAssign) and node.value is not None:
            self.variant.assigning = (dotted(node.target) or "").removeprefix("self.")
            value = self.value(node.value, env)
            self.variant.assigning = ""
            self.assign(node.target, value, env)
        elif isinstance(node, cst.AugAssign):
            self.value(node.value, env)
            self.assign(node.target, PRESENT, env)
        elif isinstance(node, cst.Expr):
            self.value(node.value, env)
        elif isinstance(node, cst.Return):
            self.returned.append(self.value(node.value, env) if node.value else NONE)
            return False
        elif isinstance(node, cst.Raise | cst.Continue | cst.Break):
            return not isinstance(node, cst.Raise)
        return True

    def branch(self, node: cst.If, env: Env) -> bool:
        if self.deprecated(node):
            self.notes.note(self.notes.truths, node.test, False)
            taken: bool | None = False
        else:
            taken = truth(self.value(node.test, env))
            self.notes.note(self.notes.truths, node.test, taken)
        orelse: Iterable[cst.CSTNode] = ()
        if isinstance(node.orelse, cst.If):
            orelse = (node.orelse,)
        elif isinstance(node.orelse, cst.Else):
            orelse = node.orelse.body.body
        if taken is not None:
            return self.block(node.body.body if taken else orelse, env)
        attributes = dict(self.variant.attributes)
        yes, no = self.refined(node.test, env, True), self.refined(node.test, env, False)
        falls_yes = self.block(node.body.body, yes)
        attributes_yes, self.variant.attributes = self.variant.attributes, dict(attributes)
        falls_no = self.block(orelse, no)
        if falls_yes and falls_no:
            self.variant.attributes = self.either(attributes_yes, self.variant.attributes)
        elif falls_yes:
            self.variant.attributes = attributes_yes
        left = [e for e, falls in ((yes, falls_yes), (no, falls_no)) if falls]
        if left:
            merged = left[0] if len(left) == 1 else self.joined(left[0], left[1])
            env.clear()
            env.update(merged)
        return bool(left)

    def deprecated(self, node: cst.If) -> bool:
        """Whether the branch only serves a deprecated way to call: it says so in a warning and does little else."""
        if self.old_calls and _acts(node.body.body):
            return False
        for statement in node.body.body:
            if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Expr):
                call = statement.body[0].value
                if isinstance(call, cst.Call) and dotted(call.func) in ("deprecate", "logger.warning", "warnings.warn"):
                    text = code(call)
                    return dotted(call.func) == "deprecate" or bool(knowledge.DEPRECATION.search(text))
        return False

    @staticmethod
    def joined(a: Env, b: Env) -> Env:
        return {name: join(a[name], b[name]) if name in a and name in b else UNKNOWN for name in {**a, **b}}

    def either(self, a: Env, b: Env) -> Env:
        """Attributes after a branch: one that only one side assigns is, where it can be read, what that side made."""
        self.variant.unsure.update(a.keys() ^ b.keys())
        return {**a, **{name: join(a[name], value) if name in a else value for name, value in b.items()}}

    def merge(self, env: Env, other: Env) -> None:
        env.update(self.joined(env, other))


def _acts(body: Iterable[cst.CSTNode]) -> bool:
    """Whether statements do more than call functions, and keep the text that such a call says."""
    said: set[str] = set()
    kept: set[str | None] = set()
    for statement in body:
        for part in statement.body if isinstance(statement, cst.SimpleStatementLine) else (statement,):
            if isinstance(part, cst.Expr):
                said |= {name.value for name in of_kind(part, cst.Name)}
            elif isinstance(part, cst.Assign) and isinstance(part.value, _TEXTS):
                kept |= {dotted(target.target) for target in part.targets}
            elif not isinstance(part, cst.Pass):
                return True
    return not kept <= said


_TEXTS = cst.SimpleString | cst.ConcatenatedString | cst.FormattedString
