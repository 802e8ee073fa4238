"""Lines of both branches stand in front of a condition where nothing in the branches or the condition forbids it."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.common import without_common_lines
from tests.pipeline.helpers import function, text


def run(source: str) -> str:
    lines = "".join(f"    {line}\n" for line in source.splitlines())
    new = without_common_lines(function(f"def f(self, a, b, c):\n{lines}"))
    return "\n".join(line[4:] for line in text([new]).splitlines()[1:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("if a:\n    x = b\n    y = c\nelse:\n    x = b\n    y = a", "x = b\nif a:\n    y = c\nelse:\n    y = a"),
        ("if a:\n    y = c\n    x = b\nelse:\n    x = b", "x = b\nif a:\n    y = c"),
        ("if a:\n    x = b\nelse:\n    x = b\n    y = c", "x = b\nif not a:\n    y = c"),
        ("if a is None:\n    x = b\nelse:\n    x = b\n    y = c", "x = b\nif a is not None:\n    y = c"),
        ("if a:\n    x = b\nelse:\n    x = b", "x = b"),
        ("if a:\n    x = g(b)\n    h()\nelse:\n    x = g(b)", "x = g(b)\nif a:\n    h()"),
        ("# why\nif a:\n    x = b\n    # more\n    h()\nelse:\n    x = b", "# why\nx = b\nif a:\n    # more\n    h()"),
        (
            "if a:\n    z = b.to(c)\n    x = z\n    y = c\nelse:\n    x = b.to(c)",
            "x = b.to(c)\nif a:\n    y = c",
        ),
        (
            "for i in a:\n    if i:\n        x = b\n        h()\n    else:\n        x = b",
            "for i in a:\n    x = b\n    if i:\n        h()",
        ),
        ("if a:\n    pass\nelse:\n    x = b", "if not a:\n    x = b"),
        ("if a:\n    x = c\nelif b in c:\n    pass\nelse:\n    x = b", "if a:\n    x = c\nelif b not in c:\n    x = b"),
    ],
)
def test_common_lines_stand_in_front(before: str, after: str) -> None:
    assert run(before) == after


@pytest.mark.parametrize(
    "source",
    [
        "if a:\n    a = b\n    y = c\nelse:\n    a = b",  # which the condition reads
        "if a:\n    b = c\n    x = b\nelse:\n    x = b",  # of a value that one branch changes
        "if a:\n    y = x\n    x = b\nelse:\n    x = b",  # which one branch reads before
        "if a:\n    x = c\n    x = b\nelse:\n    x = b",
        "if a:\n    h()\n    x = g(b)\nelse:\n    x = g(b)",  # calls keep their order
        "if a.pop():\n    x = b\n    h()\nelse:\n    x = b",
        "if a:\n    x = b\nelif c:\n    x = b",
        "if a:\n    self.x = b\n    h()\nelse:\n    self.x = b",
        "if a:\n    x += b\n    h()\nelse:\n    x += b",
        "if a:\n    x = b",
        "if a:\n    z = b.to(c)\n    x = z\n    h(z)\nelse:\n    x = b.to(c)",
        "if a:\n    # a reason\n    pass\nelse:\n    x = b",
        "if a:\n    h()\nelse:\n    pass",
    ],
)
def test_other_lines_stay(source: str) -> None:
    assert run(source) == source
