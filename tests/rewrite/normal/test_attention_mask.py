"""Masks that are repeated for each head are broadcast, which gives the same attention."""

from __future__ import annotations

from textwrap import dedent

import libcst as cst
import pytest

from omniport.rewrite.normal.attention_mask import broadcast_masks
from omniport.rewrite.normal.usage import UsageCache
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(broadcast_masks)

CLASS = """
class A:
    def forward(self, x, mask=None):
        batch, length, _ = x.shape
        if mask is not None:
            {lines}
        x = x[:, None].expand(-1, self.heads, -1, -1)
        return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    def prepare_attention_mask(self, attention_mask, target_length, batch_size):
        head_size = {heads}
        if attention_mask.shape[-1] != target_length:
            attention_mask = F.pad(attention_mask, (0, target_length), value=0.0)
        if attention_mask.shape[0] < batch_size * head_size:
            attention_mask = attention_mask.repeat_interleave(head_size, dim={dim})
        return attention_mask
"""
LINES = (
    "mask = self.prepare_attention_mask(mask, length, batch)\n"
    "            mask = mask.view(batch, self.heads, -1, mask.shape[-1])"
)
AFTER = "mask = mask.view(batch, 1, -1, mask.shape[-1])"


def program(lines: str = LINES, heads: str = "self.heads", dim: int = 0) -> str:
    return CLASS.format(lines=lines, heads=heads, dim=dim)


def test_a_mask_is_broadcast() -> None:
    check_transformed(rewrite, program(), program(AFTER))


@pytest.mark.parametrize(
    "text",
    [
        program(heads="self.groups"),  # repeated another number of times than it is viewed
        program(dim=1),
        program(LINES.replace("self.heads", "1")),
        program(LINES.replace("(mask, length, batch)", "(mask, length, batch, out_dim=4)")),
        program(LINES.splitlines()[0]),
        program().replace("F.pad(", "self.pad("),  # does something else as well
        program().replace("def prepare_attention_mask", "def prepare"),
    ],
)
def test_any_other_stays(text: str) -> None:
    check_noop(rewrite, text)


def attend(text: str, shape: tuple[int, ...]) -> object:
    torch = pytest.importorskip("torch")
    scope: dict[str, object] = {"F": torch.nn.functional}
    exec(dedent(text), scope)
    cls = scope["A"]
    assert isinstance(cls, type)
    model = cls()
    model.heads = 3
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 4, generator=generator)
    mask = torch.randn(shape, generator=generator)
    return model.forward(x, mask)


@pytest.mark.parametrize("shape", [(2, 5), (2, 1, 5), (2, 5, 5), (2, 1, 5, 5)])
def test_the_numbers_stay(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    node = cst.parse_module(program().lstrip()).body[0]
    assert isinstance(node, cst.ClassDef)
    after = cst.Module([broadcast_masks(node, UsageCache().of({"A": node}))]).code
    assert "self.prepare_attention_mask" not in after
    expected = attend(program(), shape)
    assert torch.allclose(expected, attend(after, shape))
    assert not torch.allclose(expected, attend(after.replace("mask.view(", "(mask * 0).view("), shape))
