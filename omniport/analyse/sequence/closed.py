"""Settings that a constructor takes a few values of only: the forward is walked under each of them.

``if rope_type not in ["interleaved", "split"]: raise ValueError`` closes the set; what the one value makes of a table
is then not mixed with what the other makes of it.
"""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse.expressions import Env
from omniport.analyse.sequence.flags import FlagRules
from omniport.analyse.shapes import Const, Opaque


class Several(Exception):
    """The forward asks for a setting that has a few values."""

    def __init__(self, name: str, values: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name, self.values = name, values


class ClosedSettings(FlagRules):
    """Finds such settings, and takes them for what ``settings`` says, by their text.

    Raises:
        Several: the forward asks for another one.
    """

    settings: dict[str, str]
    closed: dict[str, tuple[str, ...]]  # settings of the root, and the values that they may have
    weighed: set[str]  # values that a constructor compares with words
    chosen: bool  # whether what is being followed asks for a setting that is given

    def statement(self, node: ast.stmt, env: Env) -> bool:
        if self.building and isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
            left, options = refused_but(node.test)
            value = self.eval_or_give_up(left, env) if left is not None else None
            if isinstance(value, Opaque):
                self.closed[value.text] = options
        return super().statement(node, env)

    def eval_compare(self, node: ast.Compare, env: Env) -> Any:
        word = getattr(node.comparators[0], "value", None)
        if isinstance(node.ops[0], ast.Eq | ast.NotEq) and isinstance(word, str):
            value = self.eval(node.left, env)
            if isinstance(value, Opaque) and self.building:
                self.weighed.add(value.text)
            if isinstance(value, Opaque) and value.text in self.settings:
                self.chosen = True
                return Const((self.settings[value.text] == word) == isinstance(node.ops[0], ast.Eq))
            if isinstance(value, Opaque) and value.text in self.closed and not self.building:
                raise Several(value.text, self.closed[value.text])
        return super().eval_compare(node, env)


def refused_but(test: ast.expr) -> tuple[ast.expr | None, tuple[str, ...]]:
    """``x not in ["a", "b"]``: the expression and the strings."""
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.NotIn):
        return None, ()
    items = getattr(test.comparators[0], "elts", [])
    options = tuple(item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str))
    return (test.left, options) if options and len(options) == len(items) else (None, ())
