"""Dicts of attention arguments that carry data: a parameter for each key, all the way to the attention."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.analyse.demand import Demand
from omniport.errors import UnsupportedError
from omniport.port import analyse_transformer
from omniport.rewrite.normal.carried import spread_carried
from omniport.source.tree import SourceTree

MASK = cst.Param(cst.Name("mask"), cst.Annotation(cst.parse_expression("torch.Tensor | None")))
BASE = cst.Param(cst.Name("base"), cst.Annotation(cst.parse_expression("int | None")))

BLOCK = """
class Block(nn.Module):
    def forward(self, x, kwargs: dict | None = None):
        kwargs = kwargs or {}
        return self.attn(x, **kwargs)
"""

SPREAD = """
class Block(nn.Module):
    def forward(self, x, mask: torch.Tensor | None = None, base: int | None = None):
        return self.attn(x, mask=mask, base=base)
"""

ROOT = """
class Root(nn.Module):
    def forward(self, x, kwargs=None, y=1):
        x = checkpoint(self.block, x, kwargs)
        return self.block(x, kwargs=kwargs)
"""

ROOT_SPREAD = """
class Root(nn.Module):
    def forward(self, x, mask: torch.Tensor | None=None, base: int | None=None, y=1):
        x = checkpoint(self.block, x, mask, base)
        return self.block(x, mask=mask, base=base)
"""


def spread(source: str) -> str:
    node = cst.parse_module(source.lstrip("\n")).body[0]
    assert isinstance(node, cst.ClassDef)
    return cst.Module([spread_carried(node, {"kwargs": (MASK, BASE)})]).code


@pytest.mark.parametrize(("before", "after"), [(BLOCK, SPREAD), (ROOT, ROOT_SPREAD)])
def test_each_key_is_a_parameter(before: str, after: str) -> None:
    assert spread(before) == after.lstrip("\n")


@pytest.mark.parametrize("source", [BLOCK.replace("kwargs", "options"), SPREAD])
def test_classes_without_the_dict_are_left_alone(source: str) -> None:
    assert spread(source) == source.lstrip("\n")


@pytest.mark.parametrize(
    ("text", "instead", "message"),
    [
        ("kwargs = kwargs or {}", 'scale = kwargs["scale"]', "read in a way no rule knows"),
        ("kwargs = kwargs or {}", "kwargs = kwargs or self.kwargs", "read in a way no rule knows"),
        ("self, x,", "self, x, mask,", "the entry mask of kwargs: a parameter has that name, too"),
    ],
)
def test_what_is_not_followed_is_refused(text: str, instead: str, message: str) -> None:
    assert text in BLOCK
    with pytest.raises(UnsupportedError, match=message):
        spread(BLOCK.replace(text, instead))


def test_a_mask_reaches_the_attention_of_every_block(diffusers: SourceTree) -> None:
    """Of BriaFibo, whose pipeline makes the mask; nothing of the dict stays, in the text about the model either."""
    carried = (("joint_attention_kwargs", ("attention_mask",)),)
    made = analyse_transformer(diffusers, "BriaFiboTransformer2DModel", demand=Demand(carried=carried))
    assert "attention_mask" in made.plan.forward
    assert made.normal.code.count("attention_mask=attention_mask") == 4  # two blocks, and both calls of the root
    assert "joint_attention_kwargs" not in made.normal.code
    alone = analyse_transformer(diffusers, "BriaFiboTransformer2DModel")
    assert "attention_mask" not in alone.normal.code


def test_a_key_that_no_attention_takes_is_refused(diffusers: SourceTree) -> None:
    carried = (("joint_attention_kwargs", ("colour",)),)
    with pytest.raises(UnsupportedError, match="joint_attention_kwargs carries colour, which no attention"):
        analyse_transformer(diffusers, "BriaFiboTransformer2DModel", demand=Demand(carried=carried))
