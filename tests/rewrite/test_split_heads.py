"""Heads are split and joined by name where the constructor shows that the widths agree."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from omniport.rewrite.split_heads import split_heads, widths_of

INIT = """
class A(nn.Module):
    def __init__(self, dim, width, heads):
        self.to_q = ReplicatedLinear(dim, width, bias=False)
        self.to_k = ColumnParallelLinear(dim, width)
        self.to_v = ColumnParallelLinear(dim, 2 * width)
        self.to_qkv = QKVParallelLinear(hidden_size=dim, head_size=8, total_num_heads=heads)
        self.grouped = QKVParallelLinear(hidden_size=dim, head_size=8, total_num_heads=heads, total_num_kv_heads=2)
        if heads:
            self.either = ReplicatedLinear(dim, width)
        else:
            self.either = ReplicatedLinear(dim, dim)
        self.norm = RMSNorm(width)
"""
SIZES = "b = x.shape[0]\nw = k.shape[-1]\nd = w // self.heads\n"
PROJECT = "q = self.to_q(x)\nk = self.to_k(x)\n"
VIEW = "q = q.view(b, -1, self.heads, d)\nk = k.view(b, -1, self.heads, d)\n"
CALL = "x = self.attn(q, k, k)\n"
JOIN = "x = x.reshape(b, -1, self.heads * d)\n"
SPLIT = "q = q.unflatten(-1, (self.heads, -1))\nk = k.unflatten(-1, (self.heads, -1))\n"


def function(body: str) -> cst.FunctionDef:
    node = cst.parse_module(f"def forward(self, x):\n{textwrap.indent(body, '    ')}    return x\n").body[0]
    assert isinstance(node, cst.FunctionDef)
    return node


def widths() -> dict[str, str]:
    node = cst.parse_module(INIT.lstrip()).body[0]
    assert isinstance(node, cst.ClassDef)
    return widths_of(node)


def run(body: str) -> str:
    return cst.Module([split_heads(function(body), ["attn"], ["norm"], widths())]).code


def test_what_says_how_wide_a_projection_is() -> None:
    assert widths() == {"to_q": "width", "to_k": "width", "to_v": "2 * width", "to_qkv": "heads heads of 8"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PROJECT + SIZES + VIEW + CALL + JOIN, PROJECT + SPLIT + CALL + "x = x.flatten(2, 3)\n"),
        (
            PROJECT + "k = self.norm(k)\n" + SIZES + VIEW + CALL + "x = x.to(q.dtype)\n" + JOIN,
            PROJECT + "k = self.norm(k)\n" + SPLIT + CALL + "x = x.to(q.dtype)\nx = x.flatten(2, 3)\n",
        ),
        (
            "q, k, v = self.to_qkv(x).chunk(3, dim=-1)\n" + SIZES + VIEW + CALL,
            "q, k, v = self.to_qkv(x).chunk(3, dim=-1)\n" + SPLIT + CALL,
        ),
    ],
)
def test_heads_by_name(before: str, after: str) -> None:
    assert run(before) == cst.Module([function(after)]).code


@pytest.mark.parametrize(
    "body",
    [
        PROJECT.replace("to_q", "to_v") + SIZES + VIEW.splitlines()[0] + "\n" + CALL,  # twice as wide
        PROJECT.replace("to_q", "either") + SIZES + VIEW.splitlines()[0] + "\n" + CALL,
        PROJECT + "q = self.other(q)\n" + SIZES + VIEW.splitlines()[0] + "\n" + CALL,
        PROJECT + "if x is None:\n    q = self.other(q)\n" + SIZES + VIEW.splitlines()[0] + "\n" + CALL,
        PROJECT + SIZES + VIEW.replace("self.heads", "self.groups") + CALL,
        PROJECT + SIZES + VIEW.replace("(b,", "(n,") + CALL,
        PROJECT + SIZES + "d = 8\n" + VIEW + CALL,
        "q, k, v = self.grouped(x).chunk(3, dim=-1)\n" + SIZES + VIEW + CALL,
        PROJECT + SIZES + CALL + JOIN,  # nothing was split so
        PROJECT + SIZES + "x = self.other(q)\n" + JOIN,
    ],
)
def test_what_is_not_proved_stays(body: str) -> None:
    node = function(body)
    assert split_heads(node, ["attn"], ["norm"], widths()) is node


def test_the_numbers_stay() -> None:
    torch = pytest.importorskip("torch")

    class Model:
        heads = 3
        to_q = staticmethod(lambda x: x * 2)
        to_k = staticmethod(lambda x: x + 1)
        attn = staticmethod(lambda q, k, v: q * k.sum(1, keepdim=True) + v)

    body = PROJECT + SIZES + VIEW + CALL + JOIN
    after = split_heads(function(body), ["attn"], [], widths())
    results = []
    for node in (function(body), after):
        scope: dict[str, object] = {}
        exec(cst.Module([node]).code, scope)
        forward = scope["forward"]
        assert callable(forward)
        results.append(forward(Model(), torch.arange(60.0).view(2, 5, 6)))
    assert "unflatten" in cst.Module([after]).code and torch.equal(*results)
