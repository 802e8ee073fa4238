"""Where queries and keys come from."""

from __future__ import annotations

import ast
import textwrap

import pytest

from omniport.analyse.provenance import flows_into, same_tokens

FORWARD = """
class A:
    def forward(self, x, context=None, rope=None):
        {}
        x = dispatch_attention_fn(
            q, k, k)
        return x
"""


def method(*lines: str) -> tuple[ast.ClassDef, ast.Call]:
    tree = ast.parse(FORWARD.format(textwrap.indent("\n".join(lines), " " * 8).lstrip()))
    (cls,) = tree.body
    assert isinstance(cls, ast.ClassDef)
    calls = [n for n in ast.walk(cls) if isinstance(n, ast.Call) and ast.unparse(n.func) == "dispatch_attention_fn"]
    return cls, calls[0]


def same(*lines: str) -> bool:
    cls, call = method(*lines)
    return same_tokens(cls, call.lineno, call.col_offset)


@pytest.mark.parametrize(
    "lines",
    [
        ("q = self.q(x)", "k = self.k(x)"),
        ("y = torch.cat([x, context])", "q, k = self.q(y), self.k(y)"),
        ("q = self.q(x) * rope", "k = torch.cat([self.k(x), self.k(context)]) * rope"),  # keys of the text besides
        ("q = k = x", "q[:, 1:] = context", "k[:, 1:] = context"),
    ],
)
def test_one_sequence(lines: tuple[str, ...]) -> None:
    assert same(*lines)


@pytest.mark.parametrize(
    "lines",
    [
        ("q = self.q(x)", "k = self.k(context)"),
        ("b = context.shape[0]", "q = self.q(x).view(b, -1).to(context.dtype)", "k = self.k(context)"),  # sizes, types
        ("q = self.q(x) * rope[0]", "k = self.k(context) * rope[1]"),
        ("if context is None:", "    context = x", "q = self.q(x)", "k = self.k(context)"),
        ("q = self.q(x)", "k = self.k(context)", "q[:, k.shape[1]:] = q"),
    ],
)
def test_two_sequences(lines: tuple[str, ...]) -> None:
    assert not same(*lines)


def test_what_stands_below_the_call_does_not_count() -> None:
    cls, call = method("q = self.q(x)", "k = self.k(context)")
    function = cls.body[0]
    assert isinstance(function, ast.FunctionDef)
    assert flows_into(function, call.args[0], call.lineno) == {"x"}
    assert flows_into(function, call.args[0], call.lineno + 9) == {"x", "context"}
