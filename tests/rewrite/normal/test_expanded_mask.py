"""Masks over keys are left to broadcasting; masks that hold more, or that something else reads, stay expanded."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal.expanded_mask import unexpanded_masks
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(unexpanded_masks)

CLASS = """
class A:
    def forward(self, x, mask=None):
        batch, length, _ = x.shape
        {lines}
        return F.scaled_dot_product_attention(x, x, x, attn_mask={given})
"""
VIEWED = (
    "mask = mask.bool().view(batch, 1, 1, -1)\n        mask = mask.expand(-1, self.heads, length, -1)",
    "mask = mask.bool().view(batch, 1, 1, -1)",
)
INDEXED = ("mask = mask[:, None, None, :].expand(-1, self.heads, length, -1)", "mask = mask[:, None, None, :]")


def program(lines: str, given: str = "mask") -> str:
    return CLASS.format(lines=lines, given=given)


@pytest.mark.parametrize(("before", "after"), [VIEWED, INDEXED])
def test_a_mask_over_keys_is_not_expanded(before: str, after: str) -> None:
    check_transformed(rewrite, program(before), program(after))


@pytest.mark.parametrize(
    "text",
    [
        program(INDEXED[0].replace("[:, None, None, :]", "[:, None, :, None]")),  # over queries
        program(INDEXED[0].replace("[:, None, None, :]", "[:, None]")),  # over queries and keys
        program(INDEXED[0].replace("expand(-1, ", "expand(2, ")),  # over samples, too
        program(VIEWED[0].replace("1, 1, -1)", "1, -1, length)")),
        program(VIEWED[0].replace("mask.bool()", "other.bool()").replace("mask = o", "other = o")),
        program(INDEXED[0], "mask & x.bool()"),  # computed with
        program(INDEXED[0] + "\n        x = x * mask"),
        program(INDEXED[0], "other"),
    ],
)
def test_any_other_stays(text: str) -> None:
    check_noop(rewrite, text)
