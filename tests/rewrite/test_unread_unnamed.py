"""Parts of unpacked values that a method of a transformer does not read have no name of their own."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.transformer import unread_unnamed

SOURCE = """class Block(nn.Module):
    def __init__(self, size):
        height, width = size
        self.size = height

    def forward(self, x):
        batch_size, channels, height, width = x.shape
        x = self.proj(x.reshape(batch_size, height, -1))
        return x.view(batch_size, width)
"""


def changed(source: str) -> str:
    node = cst.parse_module(source).body[0]
    assert isinstance(node, cst.ClassDef)
    new = unread_unnamed(node)
    text = cst.Module([new]).code
    assert (new is node) is (text == source)
    return text


def test_an_unread_part_has_no_name() -> None:
    new = changed(SOURCE)
    assert new == SOURCE.replace("batch_size, channels, height, width", "batch_size, _, height, width")


@pytest.mark.parametrize(
    "line",
    [
        "batch_size, channels, height, width = x.shape",
        "self.batch_size, channels, height, width = x.shape",
        "_ = 1; batch_size, channels, height, width = x.shape",
    ],
)
def test_what_is_read_keeps_its_name(line: str) -> None:
    read = "return x.view(batch_size, width, channels)" if line.startswith("batch") else "return _(batch_size, width)"
    source = SOURCE.replace("batch_size, channels, height, width = x.shape", line)
    source = source.replace("return x.view(batch_size, width)", read)
    assert changed(source) == source
