"""Conditions on a number of axes that the plan settles go; all others stay."""

from __future__ import annotations

from typing import cast

import libcst as cst
import pytest

from omniport.plan.model import Decision, TransformerPlan, Why
from omniport.rewrite.axis_tests import settle_axis_tests

CLASS = """class Block(nn.Module):
    def forward(self, x, y):
        y = self.norm(x)
{lines}
        return x
"""


class Plan:
    """A plan with nothing but decisions."""

    def __init__(self, *decisions: tuple[str, bool]) -> None:
        self.decisions = tuple(Decision(subject, value, Why("")) for subject, value in decisions)


def run(lines: str, *decisions: tuple[str, bool]) -> str:
    text = CLASS.format(lines="\n".join(f"        {line}" for line in lines.splitlines()))
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.ClassDef)
    new = settle_axis_tests(node, cast(TransformerPlan, Plan(*decisions)))
    body = cst.Module([new]).code.splitlines()[3:-1]
    return "\n".join(line[8:] for line in body)


FALSE = ("axes in Block: x.ndim == 4", False)
TRUE = ("axes in Block: x.ndim == 4", True)


@pytest.mark.parametrize(
    ("before", "decision", "after"),
    [
        ("if x.ndim == 4:\n    x = x.squeeze(1)\ny = x", FALSE, "y = x"),
        ("y = x\n\n# an image\nif x.ndim == 4:\n    x = x.squeeze(1)", FALSE, "y = x"),
        ("if x.ndim == 4:\n    x = x.squeeze(1)\nelse:\n    # tokens\n    x = x + 1", FALSE, "# tokens\nx = x + 1"),
        ("# a\nif x.ndim == 4:\n    y = 1\nelif y:\n    y = 2", FALSE, "# a\nif y:\n    y = 2"),
        ("# a\nif x.ndim == 4:\n    y = 1\n    x = y\nelse:\n    y = 2", TRUE, "# a\ny = 1\nx = y"),
        ("for i in y:\n    x = i\n    if x.ndim == 4:\n        x = 2", FALSE, "for i in y:\n    x = i"),
    ],
)
def test_the_branch_that_is_taken_stands_by_itself(before: str, decision: tuple[str, bool], after: str) -> None:
    assert run(before, decision) == after


@pytest.mark.parametrize(
    ("before", "decision"),
    [
        ("if x.ndim == 4:\n    x = 1", ("axes in Other: x.ndim == 4", False)),
        ("if x.ndim == 3:\n    x = 1", FALSE),
        ("if x.ndim == 4 and y:\n    x = 1", FALSE),
        ("x = 1 if x.ndim == 4 else 2", FALSE),
    ],
)
def test_what_is_not_settled_stays(before: str, decision: tuple[str, bool]) -> None:
    assert run(before, decision) == before


def test_a_wrong_decision_takes_the_wrong_branch() -> None:
    before = "if x.ndim == 4:\n    x = x.squeeze(1)\nelse:\n    x = x + 1"
    assert run(before, TRUE) != run(before, FALSE)
