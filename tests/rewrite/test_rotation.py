"""Which functions rotate even and odd entries by tables of full width."""

from __future__ import annotations

import pytest

from omniport.rewrite.rotation import rotates_pairs

ROTATE = """
def turn(x, c, s):
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos = c[..., 0::2]
    sin = s[..., 1::2]
    out = torch.empty_like(x)
    out[..., 0::2] = a * cos - b * sin
    out[..., 1::2] = a * sin + b * cos
    return out.type_as(x)
"""


def test_a_rotation() -> None:
    assert rotates_pairs(ROTATE)
    assert rotates_pairs(ROTATE.replace("a * cos - b", "cos * a - b").replace("return out.type_as(x)", "return out"))
    assert rotates_pairs(ROTATE.replace("s):\n", 's):\n    """Turn."""\n'))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a * cos - b * sin", "a * cos + b * sin"),  # the other way round
        ("a * cos - b * sin", "b * sin - a * cos"),
        ("a * cos - b * sin", "a * sin - b * cos"),
        ("a * cos - b * sin", "a * cos"),
        ("a * cos - b * sin", "a * cos - 2 * sin"),
        ("a * cos - b * sin", "a * cos - b * sin * sin"),
        ("a * sin + b * cos", "a * sin - b * cos"),
        ("a, b = x", "b, a = x"),
        ("(-1, 2)).unbind(-1)", "(2, -1)).unbind(-2)"),  # halves, not neighbours
        ("c[..., 0::2]", "c[..., 1::2]"),
        ("c[..., 0::2]", "s[..., 1::2]"),
        ("s[..., 1::2]", "s[..., 0::2]"),
        ("out[..., 0::2] =", "out[..., 1::2] ="),  # stored twice
        ("out[..., 1::2] = ", "out[..., 1:] = "),
        ("empty_like(x)", "zeros_like(x)"),
        ("return out.type_as(x)", "return out.type_as(c)"),
        ("return out.type_as(x)", "return x"),
        ("return out", "out = out * 2\n    return out"),
        ("    cos = c", "    c = c + 1\n    cos = c"),
        ("    cos = c", "    x = x + 1\n    cos = c"),
        ("    cos = c", "    c, b = x.unflatten(-1, (-1, 2)).unbind(-1)\n    cos = c"),
        ("(x, c, s)", "(x, c, s, d)"),
        ("(x, c, s)", "(x, c, s=None)"),
        ("(x, c, s)", "(x, c, s, *rest)"),
        ("def turn", "@wrapped\ndef turn"),
    ],
)
def test_anything_else_is_none(old: str, new: str) -> None:
    assert old in ROTATE and not rotates_pairs(ROTATE.replace(old, new, 1))
