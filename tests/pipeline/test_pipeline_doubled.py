"""Comments that announce a doubled batch go where none is; those that are true, and all others, stay."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.doubled import without_doubled_remarks

EXPAND = "    # expand the latents if we are doing classifier free guidance\n"
PASSES = "    # For classifier free guidance, we need to do two forward passes.\n    # Here we join the two\n"


@pytest.mark.parametrize(
    ("source", "after"),
    [
        (f"{EXPAND}    x = y\n", "    x = y\n"),
        (f"{EXPAND.replace('guidance', 'guidance, or both')}    x = y\n", "    x = y\n"),
        ("# Model input (stack 2 copies under CFG)\nx = y\n", "x = y\n"),
        (f"if a:\n    x\n\n{PASSES}else:\n    y\n", "if a:\n    x\nelse:\n    y\n"),
        (f"    x\n\n{PASSES}\n    y\n", "    x\n\n\n    y\n"),
        (f"{EXPAND}    x = y\n    z\n    torch.cat([x, x])\n", "    x = y\n    z\n    torch.cat([x, x])\n"),  # too far
    ],
)
def test_what_is_not_doubled_is_not_said_to_be(source: str, after: str) -> None:
    assert without_doubled_remarks(source) == after


@pytest.mark.parametrize(
    "source",
    [
        f"{EXPAND}    x = torch.cat([y] * 2)\n",
        f"{EXPAND}    x = torch.cat([y] * (n + 1))\n",
        f"{PASSES}    if a:\n        x = torch.cat([x, x], dim=0)\n",
        f"{PASSES}    x = x.repeat(2, 1)\n",
        "    # get unconditional embeddings for classifier free guidance\n    x = y\n",
        "    # expand the mask\n    x = y\n",
        "x = y  # expand the latents if we are doing classifier free guidance\n",
    ],
)
def test_other_comments_stay(source: str) -> None:
    assert without_doubled_remarks(source) == source
