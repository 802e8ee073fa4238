"""Transpositions around the attention layer: merged where that is proved, left where it is not."""

from __future__ import annotations

from textwrap import dedent, indent

import libcst as cst
import pytest

from omniport.rewrite import tokens_first as module
from omniport.rewrite.syntax import imported_names
from omniport.rewrite.tokens_first import norms_of, tokens_first

IMPORTED = {"apply_rotary_emb": "diffusers.models.embeddings.apply_rotary_emb", "F": "torch.nn.functional"}
HEADS = """
q = self.q(x).view(b, -1, self.heads, d).transpose(1, 2)
k = self.k(x).view(b, -1, self.heads, d).transpose(1, 2)
v = self.v(x).view(b, -1, self.heads, d).transpose(1, 2)
"""
CALL = "x = self.attn(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)\n"
MERGED = HEADS.replace(".transpose(1, 2)", "")
END = "return x.transpose(1, 2).reshape(b, -1, self.heads * d)\n"


def function(body: str) -> cst.FunctionDef:
    node = cst.parse_module(f"def forward(self, x, c, b, d, n, rope=None):\n{indent(dedent(body).strip(), '    ')}\n")
    (found,) = node.body
    assert isinstance(found, cst.FunctionDef)
    return found


def merge(node: cst.FunctionDef) -> cst.FunctionDef:
    return tokens_first(node, ["attn"], ["norm"], IMPORTED)


def check(middle: str, expected: str) -> None:
    after = function(f"{MERGED}{dedent(expected)}x = self.attn(q, k, v)\nreturn x.reshape(b, -1, self.heads * d)")
    text = cst.Module([merge(function(f"{HEADS}{dedent(middle)}{CALL}{END}"))]).code
    assert text == cst.Module([after]).code


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ("", ""),
        ("q = self.norm(q).to(x.dtype)\n", "q = self.norm(q).to(x.dtype)\n"),
        ("q = q.type_as(k) * 0.5\n", "q = q.type_as(k) * 0.5\n"),
        ("q = torch.cat([q, k], dim=2)\n", "q = torch.cat([q, k], dim=1)\n"),
        ("q = torch.cat([q, k], dim=-1)\n", "q = torch.cat([q, k], dim=-1)\n"),
        ("q = torch.cat([q, k], dim=-2)\n", "q = torch.cat([q, k], dim=-3)\n"),
        ("q = apply_rotary_emb(q, rope)\n", "q = apply_rotary_emb(q, rope, sequence_dim=1)\n"),
        ("q[:, :, n:] = q[:, :, n:, :] + k[:, :, n:]\n", "q[:, n:] = q[:, n:] + k[:, n:]\n"),
        ("q, k = q[..., :n], k[:, 1:2]\n", "q, k = q[..., :n], k[:, :, 1:2]\n"),
        ("n = q.shape[2] + k.shape[-1] + q.size(1)\n", "n = q.shape[1] + k.shape[-1] + q.size(2)\n"),
        ("if n:\n    q = self.norm(q)\n", "if n:\n    q = self.norm(q)\n"),
        (
            "if n:\n    e = self.e(c).view(b, -1, self.heads, d).transpose(1, 2)\n    q = torch.cat([e, q], dim=2)\n",
            "if n:\n    e = self.e(c).view(b, -1, self.heads, d)\n    q = torch.cat([e, q], dim=1)\n",
        ),
        (
            "k = torch.repeat_interleave(k, n, dim=1, output_size=k.shape[1] * n)\n",
            "k = torch.repeat_interleave(k, n, dim=2, output_size=k.shape[2] * n)\n",
        ),
        ("z = c.flatten(2).transpose(1, 2)\n", "z = c.flatten(2).transpose(1, 2)\n"),  # not one of these pairs
    ],
)
def test_what_is_between_is_told_the_other_axis(middle: str, expected: str) -> None:
    check(middle, expected)


def test_what_is_not_known_is_given_the_transposed_tensor() -> None:
    check("m = self.gate(q)\n", "m = self.gate(q.transpose(1, 2))\n")


@pytest.mark.parametrize(
    "body",
    [
        f"{HEADS}x = F.scaled_dot_product_attention(q, k, v)\n{END}",  # no layer: heads stay first
        f"{HEADS}if n:\n    q = self.q(x)\n{CALL}{END}",  # transposed on one way only
        f"{HEADS}for _ in range(n):\n    q = self.f(q)\n{CALL}{END}",
        f"{HEADS}f = lambda y: y + q\n{CALL}{END}",
        f"{HEADS}def f(y):\n    return y + q\n{CALL}{END}",
        f"{HEADS}q += self.bias\n{CALL}{END}",
        "x = self.attn(x, x, x)\nreturn x.transpose(1, 2)\n",  # nothing to gain
    ],
)
def test_what_is_not_proved_stays(body: str) -> None:
    node = function(body)
    assert merge(node) is node


def test_a_rotary_function_of_another_module_is_unknown() -> None:
    node = function(f"{HEADS}q = apply_rotary_emb(q, rope)\n{CALL}{END}")
    text = cst.Module([tokens_first(node, ["attn"], ["norm"], {"apply_rotary_emb": "x.apply_rotary_emb"})]).code
    assert "q = apply_rotary_emb(q, rope)" in text and "self.attn(q.transpose(1, 2), k, v)" in text


def test_norms_of_a_class() -> None:
    text = """
    class A(nn.Module):
        def __init__(self, d, norm):
            self.norm = RMSNorm(d, eps=1e-6) if norm else None
            self.both = nn.LayerNorm((2, d))
            self.other = nn.BatchNorm1d(d)
            if norm:
                self.late = nn.LayerNorm(d)
            else:
                self.late = nn.BatchNorm1d(d)
    """
    node = cst.parse_module(dedent(text)).body[0]
    assert isinstance(node, cst.ClassDef) and norms_of(node) == {"norm"}


def test_imported_names() -> None:
    text = "import torch\nimport torch.nn.functional as F\nfrom a.b import c, d as e\n"
    expected = {"torch": "torch", "F": "torch.nn.functional", "c": "a.b.c", "e": "a.b.d"}
    assert imported_names(cst.parse_module(text)) == expected


# -------------------------------------------------------------------------------------------------- the same numbers
WHOLE = f"""
{HEADS}
q, k = self.norm(q), self.norm(k) * 2.0
if rope is not None:
    q[:, :, n:] = apply_rotary_emb(q[:, :, n:], rope)
    k = torch.cat([k[:, :, :n], apply_rotary_emb(k[:, :, n:], rope)], dim=2)
k = k.repeat_interleave(k.shape[1] // q.shape[1], dim=1)
{CALL}{END}
"""


def outcome(node: cst.FunctionDef) -> object:
    torch = pytest.importorskip("torch")
    from diffusers.models.embeddings import apply_rotary_emb

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> object:
        return torch.randn(*shape, generator=generator)

    class Model:
        heads = 3
        weight = draw(4)

        def q(self, x: object) -> object:
            return x * 1.5  # type: ignore[operator]

        k = v = q

        def norm(self, x: object) -> object:
            return torch.nn.functional.rms_norm(x, (4,), self.weight)

        def attn(self, q: object, k: object, v: object) -> object:
            assert q.shape == k.shape == (2, 7, 3, 4)  # type: ignore[attr-defined]
            return torch.einsum("bshd,bthd,bthe->bshe", q, k, v)

    scope: dict[str, object] = {"torch": torch, "apply_rotary_emb": apply_rotary_emb}
    exec(cst.Module([node]).code, scope)
    forward = scope["forward"]
    assert callable(forward)
    return forward(Model(), draw(2, 7, 12), None, 2, 4, 2, (draw(5, 4), draw(5, 4)))


def test_the_numbers_stay() -> None:
    torch = pytest.importorskip("torch")
    before = function(WHOLE)
    after = merge(before)
    assert cst.Module([after]).code.count("transpose") < cst.Module([before]).code.count("transpose")
    assert torch.equal(outcome(before), outcome(after))


def test_a_wrong_axis_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SWAP", {1: 1, 2: 2})
    with pytest.raises((AssertionError, RuntimeError)):
        test_the_numbers_stay()
