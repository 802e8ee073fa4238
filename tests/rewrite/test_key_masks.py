"""Masks reach attention in the form of every backend, and say the same."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import libcst as cst
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from omniport.rewrite.key_masks import key_masks
from omniport.rewrite.keyed_attention import HELPER as KEYED
from omniport.rewrite.padded_attention import HELPER

MODEL = """
class ToyAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.attn = MaskedAttention(num_heads=2, head_size=dim // 2{role})

    def forward(self, x, attention_mask=None):
        {attention}
        return self.attn(x, x, x, AttentionMetadata(attn_mask=attention_mask))


class ToyBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.self_attention = ToyAttention(dim)

    def forward(self, x, attention_mask=None):
        return x + self.self_attention(x, attention_mask=attention_mask)


class ToyModel(nn.Module):
    def __init__(self, dim=8):
        super().__init__()
        self.blocks = nn.ModuleList([ToyBlock(dim) for _ in range(2)])

    def forward(self, x, encoder_attention_mask: torch.Tensor, other=None):
        {root}
        for block in self.blocks:
            x = block(x, {given})
        return x
"""

BIAS = """if encoder_attention_mask.ndim == 2:
            encoder_attention_mask = (1 - encoder_attention_mask.to(x.dtype)) * -10000.0
            encoder_attention_mask = encoder_attention_mask.unsqueeze(1)"""
VIEW = "attention_mask = attention_mask.view(x.shape[0], 1, -1, attention_mask.shape[-1])"
PAIRS = """encoder_attention_mask = encoder_attention_mask.bool()
        one = encoder_attention_mask.view(x.shape[0], 1, 1, x.shape[1]).repeat(1, 1, x.shape[1], 1)
        two = one.transpose(2, 3)
        encoder_attention_mask = (one & two).bool()"""
FIRST = """encoder_attention_mask = encoder_attention_mask.bool()
        one = encoder_attention_mask.view(x.shape[0], 1, 1, x.shape[1]).repeat(1, 1, x.shape[1], 1)
        two = one.transpose(2, 3)
        mask = (one & two).bool()
        mask[:, :, :, 0] = True"""

#: What the attention and the root do with the mask, and the name that blocks are given -> over keys.
FORMS = {
    "axes": (
        "pass",
        "encoder_attention_mask = encoder_attention_mask.bool()[:, None, None, :]",
        "encoder_attention_mask",
    ),
    "two axes at once": (
        "pass",
        "encoder_attention_mask = encoder_attention_mask.bool().unsqueeze(1).unsqueeze(1)",
        "encoder_attention_mask",
    ),
    "axes in the attention": (
        "attention_mask = attention_mask.bool().view(x.shape[0], 1, 1, -1)",
        "pass",
        "encoder_attention_mask",
    ),
    "a guard": (
        "if attention_mask.ndim == 2:\n            attention_mask = attention_mask[:, None, None, :]",
        "encoder_attention_mask = encoder_attention_mask.bool()",
        "encoder_attention_mask",
    ),
    "a bias": (VIEW, BIAS, "encoder_attention_mask"),
    "put together": (
        "pass",
        "seen = torch.ones((x.shape[0], 2), dtype=torch.bool)\n"
        "        mask = torch.cat([seen, encoder_attention_mask[:, 2:].bool()], dim=1)[:, None, None, :]",
        "mask",
    ),
}

#: What keeps its mask and its layer, by the reason.
KEPT = {
    "no line shows its type": ("pass", "mask = encoder_attention_mask[:, None, None, :]", "mask"),
    "no line shows its axes": (VIEW, "mask = encoder_attention_mask.bool()", "mask"),
    "of queries, too": ("pass", "mask = torch.ones(x.shape[1], x.shape[1]).tril()[None, None].bool()", "mask"),
    "something else reads the bias": (
        VIEW,
        BIAS + "\n        x = x + encoder_attention_mask.mean()",
        "encoder_attention_mask",
    ),
    "two forms": (
        "pass",
        "mask = encoder_attention_mask.bool()\n        if other is not None:\n            mask = mask[:, None, None]",
        "mask",
    ),
    "padding that is given back": (
        "pass",
        "mask = torch.zeros(x.shape[0], 2, dtype=encoder_attention_mask.dtype)\n"
        "        mask[:, :1] = 1\n"
        "        mask = torch.cat([mask, encoder_attention_mask[:, 2:]], dim=1).bool()[:, None, None, :]",
        "mask",
    ),
    "pairs with the first key": ("pass", FIRST, "mask"),
    "one half of the pairs": (
        "pass",
        "mask = encoder_attention_mask.bool().view(x.shape[0], 1, 1, x.shape[1]).repeat(1, 1, x.shape[1], 1)",
        "mask",
    ),
}


def rewritten(form: tuple[str, str, str], role: str = "", *, cross: bool = True) -> tuple[str, str]:
    attention, root, given = form
    text = MODEL.format(attention=attention, root=root, given=given, role=role)
    return text, key_masks(cst.parse_module(text), "ToyModel", "Attention", cross=cross).code


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_masks_over_keys_have_two_axes(form: tuple[str, str, str]) -> None:
    before, after = rewritten(form)
    assert "self.attn = KeyMaskedAttention(" in after
    for gone in ("None, None", "unsqueeze", ".view(", "-10000", ".ndim", ".repeat("):
        assert gone not in after
    x, mask = torch.randn(2, 7, 8), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    one, seen = run(before, x, mask)
    two, given = run(after, x, mask)
    kept = mask.bool()  # what padding attends to is nobody's
    assert (one - two)[kept].abs().max() < 1e-6
    assert all(m.dtype == torch.bool and m.shape == mask.shape for m in given)
    assert any(m.dtype != torch.bool or m.shape != mask.shape for m in seen)  # not so before


@pytest.mark.parametrize("form", KEPT.values(), ids=KEPT)
def test_other_masks_stay_with_their_layer(form: tuple[str, str, str]) -> None:
    before, after = rewritten(form)
    assert after == before


def test_pairs_of_kept_tokens_are_kept_tokens_with_zeros_for_the_others() -> None:
    before, after = rewritten(("pass", PAIRS, "encoder_attention_mask"))
    assert "self.attn = PaddedAttention(" in after
    for gone in (".repeat(", ".transpose(", "one =", "two =", "&"):
        assert gone not in after
    x, mask = torch.randn(2, 7, 8), torch.tensor([[1] * 7, [0] * 2 + [1] * 2 + [0] * 3])
    one, seen = run(before, x, mask)
    two, given = run(after, x, mask)
    assert (one - two).abs().max() < 1e-6  # padding, too
    assert all(m.dtype == torch.bool and m.shape == mask.shape for m in given)
    assert all(m.shape == (2, 1, 7, 7) for m in seen)
    broken = after.replace("PaddedAttention(", "Attention(")
    assert (one - run(broken, x, mask)[0])[~mask.bool()].abs().max() > 1e-3


APART = """keys = encoder_attention_mask.bool()
        mask = keys[:, None, None, :]
        other_mask = keys[:, None, None, :]
        other_mask[:, :, :, 0] = True
        x = x + other_mask.sum()"""


def test_what_becomes_of_another_mask_over_the_same_keys_is_its_own_matter() -> None:
    _, after = rewritten(("pass", APART, "mask"))
    assert "self.attn = KeyMaskedAttention(" in after
    assert "x = block(x, keys)\n" in after
    assert "other_mask = keys[:, None, None, :]\n" in after
    before, kept = rewritten(("pass", APART.replace("other_mask[", "mask["), "mask"))
    assert kept == before


@pytest.mark.parametrize("role", [', role="cross"', None])
def test_pairs_need_the_layer_that_gives_zeros(role: str | None) -> None:
    """No cross attention, and no target whose layer has no such part."""
    text = MODEL.format(attention="pass", root=PAIRS, given="encoder_attention_mask", role=role or "")
    text = text if role else text.replace("MaskedAttention(", "Attention(")
    assert key_masks(cst.parse_module(text), "ToyModel", "Attention", cross=True).code == text


def test_a_mask_that_is_dropped_is_seen() -> None:
    """The comparison above tells a mask that says something else."""
    before, after = rewritten(FORMS["a bias"])
    x, mask = torch.randn(2, 7, 8), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    broken = after.replace("attn_mask=attention_mask", "attn_mask=None")
    assert broken != after
    difference = (run(before, x, mask)[0] - run(broken, x, mask)[0])[mask.bool()]
    assert difference.abs().max() > 1e-3


def test_cross_attention_needs_a_target_that_takes_its_masks() -> None:
    role = ', role="cross"'
    assert "self.attn = KeyMaskedAttention(" in rewritten(FORMS["a bias"], role)[1]
    assert "self.attn = MaskedAttention(" in rewritten(FORMS["a bias"], role, cross=False)[1]


def test_keys_are_put_in_the_order_of_the_ranks_along_their_axis() -> None:
    root = "mask = encoder_attention_mask.bool().unsqueeze(1).unsqueeze(1)\n        lengths = [x.shape[1]]\n"
    root += "        mask = rank_order(mask, lengths, dim=-2)\n        mask = rank_order(mask, lengths, dim=3)"
    _, after = rewritten(("pass", root, "mask"))
    assert "mask = rank_order(mask, lengths)\n" in after
    assert after.count("rank_order(") == 1


def run(text: str, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The model's output, and the masks that its attention layers were given."""
    given: list[torch.Tensor] = []

    class Attention(nn.Module):
        def __init__(self, num_heads: int, head_size: int) -> None:
            super().__init__()
            self.heads = num_heads

        def forward(self, query: Any, key: Any, value: Any, metadata: Any) -> torch.Tensor:
            heads = (t.unflatten(-1, (self.heads, -1)) for t in (query, key, value))
            return self._run_local_attention(*heads, metadata).flatten(2)

        def _run_local_attention(self, query: Any, key: Any, value: Any, attn_metadata: Any) -> torch.Tensor:
            mask = attn_metadata.attn_mask
            if mask is not None:
                given.append(mask)
                mask = mask[:, None, None, :] if mask.ndim == 2 else mask
            q, k, v = (t.transpose(1, 2) for t in (query, key, value))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).nan_to_num()

    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "Attention": Attention, "MaskedAttention": Attention}
    names |= {"lru_cache": lru_cache, "replace": replace}
    exec(KEYED.format(base="Attention") + HELPER.format(base="KeyMaskedAttention"), names)
    names["AttentionMetadata"] = SimpleNamespace
    exec(text, names)
    return names["ToyModel"]()(x, mask), given


@pytest.mark.parametrize("iterated", ["self.blocks[1:]", "self.blocks"])
def test_masks_are_followed_into_runs_of_a_list_and_into_a_member_that_may_be_missing(iterated: str) -> None:
    """As Motif's two runs over one list: the second may give another mask, which has to be seen, too."""
    before = MODEL.format(attention="pass", root="blocks = self.blocks", given="{mask}", role="")
    before = before.replace("ToyAttention(dim)\n", "ToyAttention(dim) if dim else None\n")
    loop = "        for block in self.blocks:\n            x = block(x, {mask})\n"
    runs = (
        "        mask = encoder_attention_mask.bool()[:, None, None, :]\n"
        "        for block in blocks[:1]:\n            x = block(x, mask)\n"
        f"        for block in {iterated}:\n            x = block(x, {{second}})\n"
    )
    text = before.replace(loop, runs)
    good, none, other = (text.replace("{second}", second) for second in ("mask", "None", "mask[:, :, None, None]"))
    for source in (good, none):
        after = key_masks(cst.parse_module(source), "ToyModel", "Attention", cross=True).code
        assert "self.attn = KeyMaskedAttention(" in after and "[:, None, None, :]" not in after
    assert key_masks(cst.parse_module(other), "ToyModel", "Attention", cross=True).code == other
