"""Locals that a rewrite left without a reader."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.dead import drop_dead_locals


def function(body: str) -> cst.FunctionDef:
    node = cst.parse_module("def forward(self, x):\n    " + "\n    ".join(body.splitlines()) + "\n").body[0]
    assert isinstance(node, cst.FunctionDef)
    return node


def run(lines: str, old: str, new: str) -> str:
    return cst.Module([drop_dead_locals(function(f"{lines}\n{old}"), function(f"{lines}\n{new}"))]).code


def test_a_local_that_lost_its_reader_goes_with_what_fed_it() -> None:
    text = run("d = self.d\nscale = 1 / math.sqrt(d)\nif x:\n    y = 1\n    scale = d", "f(x, scale)", "f(x)")
    assert "scale" not in text and "d = self.d" not in text and "y = 1" in text


@pytest.mark.parametrize(
    ("lines", "old", "new", "kept"),
    [
        ("scale = 1", "f(scale)", "f(scale)", "scale = 1"),  # still read
        ("unused = 1", "f(x, 2)", "f(x)", "unused = 1"),  # never read: the reference's own
        ("scale = self.step(x)", "f(scale)", "f(x)", "scale = self.step(x)"),  # the call may do something
        ("if x:\n    scale = 1", "f(scale)", "f(x)", "scale = 1"),  # all of its block
        ("scale = 1\nscale = scale + 1", "f(scale)", "f(x)", "scale = scale + 1"),  # read by itself
    ],
)
def test_other_locals_stay(lines: str, old: str, new: str, kept: str) -> None:
    assert kept in run(lines, old, new)


def test_an_unchanged_function_is_the_same() -> None:
    node = function("scale = 1\nreturn x")
    assert drop_dead_locals(node, node) is node


def test_no_blank_line_starts_a_block() -> None:
    old = function("scale = 1\n\n# the call\nf(x, scale)")
    text = cst.Module([drop_dead_locals(old, function("scale = 1\n\n# the call\nf(x)"))]).code
    assert text == "def forward(self, x):\n    # the call\n    f(x)\n"
    later = function("y = 1\nscale = y\n\n# the call\nf(x, y)")
    assert (
        "\n    \n    # the call"
        in cst.Module([drop_dead_locals(function("y = 1\nscale = y\nf(y, scale)"), later)]).code
    )
