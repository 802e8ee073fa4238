"""Unused parameters and attributes."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.prune import prune

ROOT = "\n\nclass Root:\n    def __init__(self, n, unused=1):\n        self.kept = n\n        self.a = {call}\n"


def run(init: str, call: str) -> str:
    text = "class A:\n" + init + ROOT.format(call=call)
    return prune(cst.parse_module(text), "Root").code


def test_a_parameter_nothing_reads_goes_with_its_argument() -> None:
    text = run("    def __init__(self, x, y=1):\n        self.lin = f(x)\n        return self.lin\n", "A(n, y=2)")
    assert "def __init__(self, x)" in text and "A(n)" in text


def test_an_attribute_nothing_reads_goes_and_then_its_parameter() -> None:
    text = run("    def __init__(self, x, y=1):\n        self.lin = f(x)\n        self.y = y\n", "A(n, y=2)")
    assert "self.y" not in text and "A(n)" in text


@pytest.mark.parametrize(
    ("init", "call", "kept"),
    [
        ("    def __init__(self, x, y=1):\n        self.lin = f(x, y)\n", "A(n, y=2)", "y=2"),
        ("    def __init__(self, x, y=1):\n        self.lin = f(x)\n", "A(n, 2)", "A(n, 2)"),  # filled by position
        ("    def __init__(self, x):\n        self.lin = make(x)\n", "A(n)", "self.lin = make(x)"),  # a call
        (
            "    def __init__(self, x):\n        self.y = x\n\n    def forward(self):\n        return self.y\n",
            "A(n)",
            "self.y = x",
        ),
        ("    def __init__(self, x):\n        self.y = x\n", "A(n).y", "self.y = x"),  # read from outside
    ],
)
def test_what_is_used_stays(init: str, call: str, kept: str) -> None:
    assert kept in run(init, call)


def test_the_root_keeps_its_interface() -> None:
    text = run("    pass\n", "None")
    assert "unused=1" in text and "self.kept = n" in text


def test_arguments_go_from_methods_of_the_constructor_too() -> None:
    init = "    def __init__(self, x, y=1):\n        self.lin = f(x)\n"
    text = run(init, "self.make(n)\n\n    def make(self, n):\n        return A(n, y=2)")
    assert "def __init__(self, x)" in text and "return A(n)" in text
