"""Numbers of heads of a forward become attributes; other numbers stay where they are."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from omniport.rewrite.normal.head_numbers import head_numbers

INIT = """
self.inner_dim = dim
self.inner_kv_dim = kv
self.heads = heads
"""
FORWARD = """
head_dim = self.inner_dim // self.heads
kv_heads = self.inner_kv_dim // head_dim
groups = self.heads // kv_heads
key = key.view(3, -1, kv_heads, head_dim)
return key.repeat_interleave(groups, dim=head_dim)
"""


def rewrite(forward: str, init: str = INIT) -> str:
    text = f"class A:\n    def __init__(self, dim, kv, heads):\n{textwrap.indent(init.strip(), ' ' * 8)}\n"
    text += f"    def forward(self, key):\n{textwrap.indent(forward.strip(), ' ' * 8)}\n"
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.ClassDef)
    changed = head_numbers(node)
    return "" if changed is node else cst.Module([changed]).code


def test_numbers_of_heads_become_attributes() -> None:
    text = rewrite(FORWARD)
    assert (
        "self.kv_heads = self.inner_kv_dim // self.head_dim\n        self.groups = self.heads // self.kv_heads" in text
    )
    assert "view(3, -1, self.kv_heads, self.head_dim)" in text and "(self.groups, dim=self.head_dim)" in text
    forward = text[text.index("def forward") :]
    assert " // " not in forward
    made: dict[str, object] = {}
    exec(text, made)
    assert made["A"](12, 6, 4).groups == 2  # type: ignore[operator]


@pytest.mark.parametrize(
    ("forward", "init"),
    [
        ("head_dim = self.inner_dim // self.heads\nreturn key.view(3, head_dim)", INIT),  # no number of heads
        (FORWARD.replace("groups =", "kv_heads = 2\ngroups ="), INIT),  # set twice
        (FORWARD.replace("self.inner_kv_dim //", "key.shape[-1] //"), INIT),  # known at run time only
        (FORWARD, INIT + "if dim > 3:\n    self.inner_kv_dim = 4\n"),  # an attribute that is set twice
        (FORWARD, INIT + "self.kv_heads = 2\n"),  # the name is taken
    ],
)
def test_other_numbers_stay(forward: str, init: str) -> None:
    assert rewrite(forward, init) == ""
