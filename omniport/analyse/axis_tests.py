"""Conditions on the number of axes of a tensor that a block asks, though the walk knows the answer.

Shared blocks of diffusers ask ``if hidden_states.ndim == 4`` for callers that a port does not have.  The number of axes
that a walk found holds where it rests on nothing that the root takes in several forms: what comes from an input whose
own axes the root counts (``if timestep.ndim == 2``) was followed in one of its forms only.
"""

from __future__ import annotations

import ast

from omniport.analyse.facts import Facts
from omniport.analyse.provenance import flows_into
from omniport.analyse.sequence.conditions import ranked
from omniport.analyse.syntax import text
from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node, methods
from omniport.source.normal import NormalForm

SUBJECT = "axes in "
UNKNOWN = frozenset({"?"})  # among the origins of a tensor: what a class outside of the normal form made


def axis_tests(normal: NormalForm, facts: Facts) -> tuple[Decision, ...]:
    """The conditions of all classes but the root that are always the same, each with its value."""
    found = {key: seen for key, seen in facts.axis_tests.items() if key[0] != normal.root}
    if not found:
        return ()
    classes = {node.name: node for node in normal.tree.body if isinstance(node, ast.ClassDef)}
    several = _counted(methods(classes[normal.root])["forward"], _open(normal.root, facts))
    made: list[Decision] = []
    for cls, test in dict.fromkeys((cls, test) for cls, test, _ in found if cls in classes):
        lines = [seen for key, seen in found.items() if key[:2] == (cls, test)]
        answers = {answer for seen in lines for answer, _ in seen}
        origins = frozenset[str]().union(*(names for seen in lines for _, names in seen))
        asked = [n for n in each_node(classes[cls]) if isinstance(n, ast.If) and text(n.test) == test]
        known = len(answers) == 1 and None not in answers and len(asked) == len(lines)
        if known and not (several and origins & (several | UNKNOWN)):
            origin = normal.origin(asked[0].lineno)
            why = Why("the same in every call: the axes are known where the class is called", origin.file, origin.line)
            made.append(Decision(f"{SUBJECT}{cls}: {test}", answers.pop(), why))
    return tuple(made)


def _open(root: str, facts: Facts) -> set[int]:
    """Lines of the root's conditions on axes that were followed both ways: they rest on no assumption."""
    seen = facts.axis_tests.items()
    return {line for (cls, _, line), each in seen if cls == root and all(answer is None for answer, _ in each)}


def _counted(forward: ast.FunctionDef, followed: set[int]) -> frozenset[str]:
    """The parameters of the root that what it counts the axes of is computed from."""
    skipped = {
        id(part)
        for node in each_node(forward)
        if isinstance(node, ast.If) and node.lineno in followed
        for part in each_node(node.test)
    }
    found = frozenset[str]()
    for node in each_node(forward):
        held: ast.expr | None = None
        if isinstance(node, ast.Attribute) and node.attr in ("ndim", "dim"):
            held = node.value
        elif isinstance(node, ast.Call) and text(node.func) == "len" and text(node).endswith(".shape)"):
            held = node.args[0]
            held = held.value if isinstance(held, ast.Attribute) else held
        if held is not None and id(node) not in skipped:
            found |= flows_into(forward, held, held.lineno + 1)
    return found


def asks_axes(test: ast.expr) -> str:
    """The name whose axes a condition counts, by itself or beside another; "" for any other."""
    parts = test.values if isinstance(test, ast.BoolOp) else (test,)
    return next((name for part in parts if (name := ranked(part)[0])), "")
