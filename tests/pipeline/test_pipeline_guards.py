"""A parameter that no call gives goes with the line that replaces its None."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.guards import unguarded
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def run(lines: str) -> str | None:
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    new = unguarded(function(f"def f(self, a=None, b=1):\n{body}"), "a")
    return None if new is None else "\n".join(line[4:] for line in code(new).strip().splitlines()[1:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = a or self.a\ng(a)", "a = self.a\ng(a)"),
        ("b = g(b)\na = a or b.a\nreturn a", "b = g(b)\na = b.a\nreturn a"),
        ("a = b if a is None else a\ng(a)", "a = b\ng(a)"),
        ("a = a if a is not None else b\ng(a)", "a = b\ng(a)"),
        ("g(a=b)\na = a or b", "g(a=b)\na = b"),  # the name of an argument
    ],
)
def test_the_other_value_it_is(before: str, after: str) -> None:
    assert run(before) == after


@pytest.mark.parametrize(
    "body",
    [
        "g(a)\na = a or b",  # read before
        "if b:\n    a = a or b\ng(a)",  # not on every path
        "a = a and b",
        "a = b or a",
        "a = a or g(a)",
        "a = a if a is None else b",
        "a = b if a is None else c",
        "a, c = a or b, b",
        "c = a or b",
        "for a in b:\n    pass",
        "return b",
    ],
)
def test_other_forms_stay(body: str) -> None:
    assert run(body) is None


@pytest.mark.parametrize("given", [None, 3])
def test_what_is_written_does_the_same_without_an_argument(given: int | None) -> None:
    """And it is no longer the method for calls that give one: why every call is asked."""
    source = "def f(self, a=None, b=1):\n    a = a or b\n    return a\n"
    new = unguarded(function(source), "a")
    assert new is not None
    results = []
    for text in (source, code(new)):
        names: dict[str, object] = {}
        exec(text, names)
        results.append(names["f"](None, given))  # type: ignore[operator]
    assert (results[0] == results[1]) is (given is None)
