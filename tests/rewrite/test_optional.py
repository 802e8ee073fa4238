"""Modules that may be absent: always there where they are applied, not mentioned where they are called."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.optional import settle_optional

CLASS = """
class A(nn.Module):
    def __init__(self, dim, qk_norm=None):
        super().__init__()
{init}

    def forward(self, x, y):
{forward}
"""
NORM = """        if qk_norm is None:
            self.norm = None
        else:
            self.norm = RMSNorm(dim, eps=1e-6)"""
APPLIED = """        if self.norm is not None:
            x = self.norm(x)
        return x"""
CALLED = """        if self.flag:
            x = self.norm(x)
        return x"""


def run(init: str, forward: str, more: str = "") -> str:
    return settle_optional(cst.parse_module(CLASS.format(init=init, forward=forward) + more), "Root").code


def same(init: str, forward: str, more: str = "") -> None:
    assert run(init, forward, more) == CLASS.format(init=init, forward=forward) + more


def test_a_norm_that_is_only_applied_is_an_identity() -> None:
    text = run(NORM, APPLIED)
    assert "        self.norm = RMSNorm(dim, eps=1e-6) if qk_norm is not None else nn.Identity()\n" in text
    assert (
        "        x = self.norm(x)\n        return x" in text and "if self.norm" not in text and "= None\n" not in text
    )


@pytest.mark.parametrize(
    ("test", "condition"),
    [("not qk_norm", "qk_norm"), ("qk_norm", "not qk_norm"), ("qk_norm != 'rms'", "qk_norm == 'rms'")],
)
def test_the_condition_is_turned_round(test: str, condition: str) -> None:
    text = run(NORM.replace("qk_norm is None", test), APPLIED)
    assert f"self.norm = RMSNorm(dim, eps=1e-6) if {condition} else nn.Identity()\n" in text


def test_a_compound_condition_is_turned_round_as_a_whole() -> None:
    text = run(NORM.replace("qk_norm is None", "qk_norm or dim"), APPLIED)
    assert "if not (qk_norm or dim) else" in text


def test_a_long_norm_keeps_its_branches() -> None:
    long = NORM.replace("eps=1e-6", "eps=1e-6, " + ", ".join(f"argument_{n}=True" for n in range(6)))
    text = run(long, APPLIED)
    assert "        if qk_norm is None:\n            self.norm = nn.Identity()\n        else:\n" in text
    assert "if self.norm" not in text


def test_other_lines_of_the_branches_stay() -> None:
    text = run(NORM + "\n            self.lin = nn.Linear(dim, dim)", APPLIED)
    assert "            self.norm = nn.Identity()\n" in text and "            self.lin = nn.Linear(dim, dim)\n" in text


def test_a_module_that_is_only_called_is_not_mentioned_where_it_is_absent() -> None:
    text = run(NORM, CALLED)
    assert "        if qk_norm is not None:\n            self.norm = RMSNorm(dim, eps=1e-6)\n" in text
    assert "= None\n" not in text and "else" not in text
    other = "        if dim:\n            self.norm = f(dim)\n        else:\n            self.norm = None\n"
    assert "        if dim:\n            self.norm = f(dim)\n\n" in run(other, CALLED)


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        (NORM, APPLIED.replace("return x", "return x, self.norm")),  # read as a value
        (NORM, APPLIED.replace("x = self.norm(x)", "x = self.norm(y)")),  # another tensor
        (NORM, APPLIED.replace("x = self.norm(x)", "x = self.norm(x, y)")),
        (NORM, APPLIED.replace("x = self.norm(x)", "x = self.norm(x)\n            y = x")),  # more depends on it
        (NORM, APPLIED.replace("        return x", "        else:\n            x = y\n        return x")),
        (NORM, APPLIED.replace("        return x", "        return f(x) if self.norm is None else x")),
        (NORM.replace("RMSNorm(dim, eps=1e-6)", "dim"), APPLIED),  # no module
        ("        self.norm = None", APPLIED),
        ("        self.norm = None\n        if dim:\n            self.norm = f(dim)", APPLIED),  # the usual default
        ("        self.norm = None\n        if dim:\n            self.norm = f(dim)", CALLED),
        (NORM.replace("else", "elif dim"), APPLIED),  # a third case, which sets nothing
        (NORM, CALLED.replace("return x", "return x if self.norm is None else y")),
        (NORM, CALLED.replace("return x", "return x if getattr(self, 'norm', None) else y")),
        (NORM, CALLED.replace("return x", "self.norm = None\n        return x")),
        (NORM.replace("None\n", "nn.Identity()\n"), APPLIED.replace("is not None", "is None")),
    ],
)
def test_what_else_is_read_stays(init: str, forward: str) -> None:
    same(init, forward)


def test_what_another_class_reads_stays() -> None:
    same(NORM, APPLIED, "\n\nclass B(nn.Module):\n    def forward(self, x):\n        return self.a.norm is None\n")


def test_the_root_keeps_its_attributes() -> None:
    text = CLASS.format(init=NORM, forward=APPLIED).replace("class A", "class Root")
    module = cst.parse_module(text)
    assert settle_optional(module, "Root").code == text
