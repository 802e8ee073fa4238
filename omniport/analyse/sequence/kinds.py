"""Parameters that are one tensor or a tuple of tensors, as the forward asks by ``isinstance(x, tuple)``.

Each is walked by itself: what one configuration makes of a tuple is then not mixed with what another makes of a tensor.
"""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse import library
from omniport.analyse.expressions import Env, text
from omniport.analyse.sequence.cuts import CutAxes
from omniport.analyse.shapes import Const, Instance, Leaf, Seq, Tensor
from omniport.source.nodes import each_node


def kinds_of(forward: ast.FunctionDef) -> dict[str, int]:
    """The parameters that come as tuples, too, and of how many items: as many as the forward unpacks."""
    asked = {name for node in each_node(forward) if isinstance(node, ast.Call) and (name := _asked(node))}
    own = asked & {argument.arg for argument in (*forward.args.args, *forward.args.kwonlyargs)}
    found = {}
    for node in each_node(forward) if own else ():
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Tuple):
            value = node.value.body if isinstance(node.value, ast.IfExp) else node.value
            if isinstance(value, ast.Name) and value.id in own:
                found[value.id] = len(target.elts)
    return found


def _asked(node: ast.expr) -> str:
    """``isinstance(x, tuple)``: the name."""
    if not isinstance(node, ast.Call) or text(node.func) != "isinstance" or len(node.args) != 2:
        return ""
    name = node.args[0]
    return name.id if isinstance(name, ast.Name) and text(node.args[1]) in ("tuple", "(tuple, list)") else ""


class KindRules(CutAxes):
    """Takes such a parameter for a tuple of ``kinds[name]`` tensors, or for a tensor if that is zero."""

    kinds: dict[str, int]

    def input(self, name: str, default: ast.expr | None, annotation: str) -> Any:
        if not self.kinds.get(name):
            return super().input(name, default, annotation)
        shape = library.INPUTS.get(name, ())
        # any of them may be absent: the callers of such models leave out what they do not have
        return Seq([self.maybe(self.sizeless(len(shape)) if shape else Tensor(None)) for _ in range(self.kinds[name])])

    def eval_call(self, node: ast.Call, env: Env) -> Any:
        value = self.eval(node.args[0], env) if self.kinds and _asked(node) else None
        if isinstance(value, Seq | Tensor):
            return Const(isinstance(value, Seq))
        return super().eval_call(node, env)

    def truth(self, value: Any, node: ast.AST) -> bool | None:
        if self.kinds and isinstance(value, Seq) and value.items and not value.many:
            return True
        return super().truth(value, node)

    def eval_ifexp(self, node: ast.IfExp, env: Env) -> Any:
        """``masks if masks else (None, None)``: a tensor of several entries has no truth value, so none is given."""
        alike = self.kinds and isinstance(node.orelse, ast.Tuple) and text(node.test) == text(node.body)
        if alike and isinstance(self.eval(node.test, env), Tensor):
            return self.eval(node.orelse, env)
        return super().eval_ifexp(node, env)

    def fits(self, item: Any, args: list[Any], kwargs: dict[str, Any]) -> bool:
        """A module that raises unless it is given a tuple is not called with a tensor, nor one that projects its
        argument with a tuple."""
        if not super().fits(item, args, kwargs) or not self.kinds or not isinstance(item, Instance):
            return super().fits(item, args, kwargs)
        forward = self.method_of(item.cls, "forward")
        given = {
            name: x for name, x in self.bind(forward, args, kwargs, forward).items() if isinstance(x, Seq | Tensor)
        }
        return not any(raises(node, given) or self.projects(node, given, item) for node in forward.body)

    def projects(self, node: ast.stmt, given: Env, item: Instance) -> bool:
        """``key = self.to_k(x)`` of a tuple."""
        value = node.value if isinstance(node, ast.Assign) else None
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute) or not value.args:
            return False
        leaf, name = item.attributes.get(value.func.attr), value.args[0]
        linear = isinstance(leaf, Leaf) and leaf.cls.endswith("Linear")
        return linear and isinstance(name, ast.Name) and isinstance(given.get(name.id), Seq)


def raises(node: ast.stmt, given: Env) -> bool:
    """``if not isinstance(x, tuple): raise`` where ``x`` is a tensor, or the other way round."""
    if not isinstance(node, ast.If) or not isinstance(node.body[-1], ast.Raise):
        return False
    wanted = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
    name = _asked(node.test.operand if isinstance(node.test, ast.UnaryOp) else node.test)
    return name in given and isinstance(given[name], Seq) != wanted
