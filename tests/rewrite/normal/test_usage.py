"""Who calls whom: over loops, slices of a list, a local that holds the list, and members that may be left out."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.normal.usage import UsageCache

PROGRAM = """
class Block(nn.Module):
    def forward(self, x):
        return x

class Other(nn.Module):
    def forward(self, x):
        return x

class Root(nn.Module):
    def __init__(self, depth, extra=False):
        self.blocks = nn.ModuleList([Block() for _ in range(depth)])
        self.others = nn.ModuleList([Other() for _ in range(depth)])
        self.extra = Block() if extra else None
    def forward(self, x):
{body}
        return x
"""


def called(body: str) -> list[str]:
    """The classes whose forward the root may call, in order of their names."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    module = cst.parse_module(PROGRAM.format(body=lines))
    usage = UsageCache().of({item.name.value: item for item in module.body if isinstance(item, cst.ClassDef)})
    return sorted(name for (name, function), _ in usage.sites.items() if function == "forward")


@pytest.mark.parametrize(
    "body",
    [
        "for block in self.blocks:\n    x = block(x)",
        "for block in self.blocks[:2]:\n    x = block(x)",
        "for block in self.blocks[1:][: len(self.blocks) - self.n]:\n    x = block(x)",
        "blocks = self.blocks\nfor block in blocks:\n    x = block(x)",
        "blocks = self.blocks\nfor block in blocks[-2:]:\n    x = block(x)",
        "blocks = self.blocks\nfor i, block in enumerate(blocks[-2:]):\n    x = block(x)",
        "blocks = self.blocks\nfor block in blocks:\n    x = block(x)\nblocks = self.make()",
        "if self.extra is not None:\n    x = self.extra(x)",
    ],
)
def test_blocks_that_are_called(body: str) -> None:
    assert called(body) == ["Block"]


def test_a_local_is_what_it_was_last_set_to() -> None:
    again = "blocks = self.blocks\nfor block in blocks:\n    x = block(x)\nblocks = self.others\n"
    assert called(again + "for block in blocks:\n    x = block(x)") == ["Block", "Other"]
    assert called("blocks = self.blocks\nblocks = self.others\nfor block in blocks:\n    x = block(x)") == ["Other"]


@pytest.mark.parametrize(
    "body",
    [
        "for block in self.chosen(self.blocks):\n    x = block(x)",
        "blocks = self.blocks\nblocks = self.make()\nfor block in blocks:\n    x = block(x)",
        "blocks = self.blocks\nblocks, n = self.make()\nfor block in blocks:\n    x = block(x)",
        "blocks = self.blocks\nblocks += [f]\nfor block in blocks:\n    x = block(x)",
        "blocks = self.blocks\nfor blocks in self.groups:\n    for block in blocks:\n        x = block(x)",
        "for block in self.blocks[x]:\n    x = block(x)",  # not a slice: it may be anything
    ],
)
def test_what_may_be_another_list_is_not_followed(body: str) -> None:
    assert called(body) == []


def test_a_call_of_another_functions_local_is_not_followed() -> None:
    """Names of one function mean nothing in the next."""
    lines = PROGRAM.format(body="        blocks = self.blocks") + (
        "    def more(self, blocks, x):\n        for block in blocks:\n            x = block(x)\n        return x\n"
    )
    module = cst.parse_module(lines)
    usage = UsageCache().of({item.name.value: item for item in module.body if isinstance(item, cst.ClassDef)})
    assert not [key for key in usage.sites if key[1] == "forward"]
