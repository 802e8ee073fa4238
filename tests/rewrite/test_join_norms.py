"""Norms across ranks are joined where that changes nothing, and only there."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from omniport.rewrite.join_norms import JoinNorms
from omniport.source.transform import transform

NAMES = {"norm_q", "norm_k", "norm_added_k"}


def joined(body: str, init: str = "pass") -> str:
    """``body`` of a forward, joined."""
    text = f"class A(nn.Module):\n    def __init__(self):\n{textwrap.indent(textwrap.dedent(init), ' ' * 8)}\n"
    text += f"    def forward(self, x, y, z):\n{textwrap.indent(textwrap.dedent(body).strip(), ' ' * 8)}\n"
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.ClassDef)
    result = transform(node, JoinNorms(node, NAMES))
    assert isinstance(result, cst.ClassDef)
    code = cst.Module([result]).code
    return textwrap.dedent(code[code.index("z):\n") + 4 :])


def same(got: str, expected: str) -> bool:
    return cst.parse_module(got).code.strip() == textwrap.dedent(expected).strip()


def test_neighbours_are_joined() -> None:
    got = joined("# heads\nq = self.norm_q(q)\nk = self.norm_k(k)\nreturn q @ k")
    assert same(got, "# heads\nq, k = norm_together((self.norm_q, q), (self.norm_k, k))\nreturn q @ k")


def test_what_a_later_norm_needs_is_computed_earlier() -> None:
    got = joined("""
        q = self.norm_q(self.to_q(x)).to(x.dtype)
        q = q.view(3, -1)
        k = self.to_k(y)
        v = self.to_v(y)
        k = self.norm_k(k)
        return q, k, v
    """)
    assert same(
        got,
        """
        q = self.to_q(x)
        k = self.to_k(y)
        q, k = norm_together((self.norm_q, q), (self.norm_k, k))
        q = q.to(x.dtype)
        q = q.view(3, -1)
        v = self.to_v(y)
        return q, k, v
        """,
    )


def test_a_norm_under_a_condition_is_joined_in_a_branch() -> None:
    got = joined("""
        q = self.norm_q(q)
        k = self.norm_k(k)
        out = None
        if y is not None:
            a = self.add_k(y)
            b = self.add_v(y)
            a = self.norm_added_k(a)
            out = self.attn(q, a, b)
        return out
    """)
    assert same(
        got,
        """
        if y is not None:
            a = self.add_k(y)
            q, k, a = norm_together((self.norm_q, q), (self.norm_k, k), (self.norm_added_k, a))
        else:
            q, k = norm_together((self.norm_q, q), (self.norm_k, k))
        out = None
        if y is not None:
            b = self.add_v(y)
            out = self.attn(q, a, b)
        return out
        """,
    )


GUARDED = """
if self.norm_q is not None:
    q = self.norm_q(q)
if self.norm_k is not None:
    k = self.norm_k(k)
return q @ k
"""


def test_norms_that_are_there_together_share_their_condition() -> None:
    init = """
        if qk_norm is None:
            self.norm_q = None
            self.norm_k = None
        else:
            self.norm_q = RMSNorm(64)
            self.norm_k = RMSNorm(64)
    """
    expected = """
        if self.norm_q is not None:
            q, k = norm_together((self.norm_q, q), (self.norm_k, k))
        return q @ k
    """
    assert same(joined(GUARDED, init), expected)


def test_norms_that_are_not_there_together_stay_apart() -> None:
    init = """
        if qk_norm is None:
            self.norm_q = None
        else:
            self.norm_q = RMSNorm(64)
        self.norm_k = RMSNorm(64) if qk_norm == "both" else None
    """
    assert same(joined(GUARDED, init), GUARDED)


@pytest.mark.parametrize(
    "body",
    [
        "q = self.norm_q(q)\nk = self.norm_k(q)",  # the second reads the first
        "q = self.norm_q(q)\ny = y + q\nk = self.to_k(y)\nk = self.norm_k(k)",  # through another line
        "k = self.norm_q(k)\nk = self.norm_k(k)",  # one after the other
        "q = self.norm_q(q)\nz = k + 1\nk = self.norm_k(k)",  # the line in between reads what was not normalised
        "q = self.norm_q(q)\nx.add_(1)\nk = self.norm_k(k)",  # a change in place
        "q = self.norm_q(q)\nx[0] = 1\nk = self.norm_k(k)",
        "q = self.norm_q(q)\nself.cache(x)\nk = self.norm_k(k)",  # a call for its effect
        "q = self.norm_q(q)\nif z:\n    return q\nk = self.norm_k(k)",  # another way out
        "q = self.norm_q(q)\nif z:\n    k = y\nk = self.norm_k(k)",  # its argument depends on a condition
        "q = self.norm_q(q)\nz = None\nif z is not None:\n    k = self.norm_k(y)\n    return k",  # so does the test
        "q = self.norm_q(q)\nif self.ready():\n    k = self.norm_k(y)\n    k = k + 1",  # a test that is a call
        "q = self.norm_q(q)\nk = self.to_k(y)\nif z:\n    k = self.norm_k(k)\n    z = k",  # needs a line outside
    ],
)
def test_norms_stay_where_moving_them_would_change_something(body: str) -> None:
    assert same(joined(body), body)
