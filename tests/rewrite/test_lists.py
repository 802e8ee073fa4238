"""Lists written as literals, dropout taken out."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.lists import drop_dropout, gather_lists


def rewrite(body: str, forward: str = "return x") -> str:
    lines = "\n        ".join(body.splitlines())
    text = f"class A:\n    def __init__(self, p):\n        {lines}\n    def forward(self, x):\n        "
    text += "\n        ".join(forward.splitlines()) + "\n"
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.ClassDef)
    return cst.Module([drop_dropout(gather_lists(node))]).code


def test_appends_become_a_literal() -> None:
    text = rewrite(
        "self.net = nn.ModuleList([])\n# in\nact = GELU(p)\nself.net.append(act)\nself.net.append(nn.Linear(p, 1))"
    )
    assert "self.net = nn.ModuleList([GELU(p), nn.Linear(p, 1)])" in text
    assert "append" not in text and "act =" not in text


@pytest.mark.parametrize(
    "body",
    [
        "self.net = nn.ModuleList([nn.Linear(p, 1)])",
        "self.net = nn.ModuleList([B(p) for _ in range(3)])",
        "self.net = list(p)\nself.net.append(p)",
        "self.net = nn.ModuleList([])",
        "for i in range(p):\n    self.net.append(B(i))",
        "items = []\nitems.append(B(p))",
    ],
)
def test_other_lists_stay(body: str) -> None:
    assert "\n        ".join(body.splitlines()) in rewrite(body)


def test_a_local_with_another_use_stays() -> None:
    text = rewrite("self.net = nn.ModuleList([])\nact = GELU(p)\nself.net.append(act)\nself.act = act")
    assert "act = GELU(p)" in text and "nn.ModuleList([act])" in text


def test_dropout_at_the_end_of_a_list_goes_with_its_calls() -> None:
    text = rewrite(
        "self.out = nn.ModuleList([nn.Linear(p, 1), nn.Dropout(0.1)])", "x = self.out[1](x)\nreturn self.out[0](x)"
    )
    assert "Dropout" not in text and "self.out[1]" not in text and "return self.out[0](x)" in text


def test_dropout_in_the_middle_keeps_the_index() -> None:
    text = rewrite("self.net = nn.ModuleList([A(p), nn.Dropout(p), B(p)])")
    assert "nn.ModuleList([A(p), nn.Identity(), B(p)])" in text


def test_a_dropout_attribute_goes() -> None:
    text = rewrite("self.drop = nn.Dropout(p)\nself.lin = nn.Linear(p, p)", "return self.lin(self.drop(x * 2))")
    assert "drop" not in text and "self.lin(x * 2)" in text


def test_a_condition_for_a_dropout_goes_with_it() -> None:
    lists = "self.out = nn.ModuleList([nn.Linear(p, 1), nn.Dropout(0.1)])"
    text = rewrite(lists, "if len(self.out) > 1:\n    x = self.out[1](x)\nreturn x")
    assert "if" not in text and "pass" not in text
    assert "if self.step():" in rewrite(lists, "if self.step():\n    x = self.out[1](x)\nreturn x")


@pytest.mark.parametrize("forward", ["return self.drop(x, 1)", "return F.gelu(x)", "x = x + x\nreturn x"])
def test_other_calls_stay(forward: str) -> None:
    assert "\n        ".join(forward.splitlines()) in rewrite("self.lin = nn.Linear(p, p)", forward)
