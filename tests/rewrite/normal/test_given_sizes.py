"""A fallback for a size goes where every call gives the size."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal import given_sizes
from omniport.rewrite.normal.given_sizes import drop_given_sizes
from omniport.rewrite.normal.usage import UsageCache
from tests.rewrite.normal.helpers import Classes, check_noop, check_transformed

PROGRAM = """
class A(nn.Module):
    def __init__(self, dim, width=None):
        {line}
        self.lin = nn.Linear(dim, width)
    def forward(self, x):
        return self.lin(x)

class Root(nn.Module):
    def __init__(self, dim, out=None):
        self.a = A({arguments})
    def forward(self, x):
        return self.a(x)
"""


def rewrite(
    found: Classes, given: frozenset[tuple[str, str, str]] = frozenset({("A", "__init__", "width")})
) -> Classes:
    return found | drop_given_sizes(found, UsageCache().of(found), "Root", given)


def program(arguments: str, line: str = "width = width or 2 * dim") -> str:
    return PROGRAM.format(arguments=arguments, line=line)


@pytest.mark.parametrize("arguments", ["dim, 2 * dim", "dim, width=dim", "dim, 16", "dim=dim, width=4 * dim + 2"])
def test_a_size_that_every_call_gives_needs_no_other(arguments: str) -> None:
    before = program(arguments)
    check_transformed(rewrite, before, before.replace("        width = width or 2 * dim\n", ""))


@pytest.mark.parametrize(
    "before",
    [
        program("dim"),  # not given
        program("dim, 0"),
        program("dim, dim - 4"),  # may be zero
        program("dim, dim // 4"),
        program("dim, out or dim"),
        program("dim, 2 * dim", "width = width or sizes()"),  # no size
        program("dim, 2 * dim", "width = width and 2 * dim"),
        program("dim, 2 * dim", "width = dim or 2 * dim"),
        program("dim, 2 * dim", "width = width or 2 * dim\n        width = width + 1"),
    ],
)
def test_what_may_be_missing_stays(before: str) -> None:
    check_noop(rewrite, before)


def test_a_size_that_may_be_none_stays() -> None:
    check_noop(lambda found: rewrite(found, frozenset()), program("dim, out"))


def test_the_root_stays() -> None:
    found = program("dim, 2 * dim").replace("self.a =", "out = out or dim\n        self.a =")
    check_noop(lambda f: rewrite(f, frozenset({("Root", "__init__", "out")})), found)


def test_without_the_proof_the_fallback_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_sizes, "_is_size", lambda node: True)
    with pytest.raises(AssertionError):
        check_noop(rewrite, program("dim, dim - 4"))
