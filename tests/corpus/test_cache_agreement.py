"""The comparison with cache-dit's adapters, on adapters and plans made up here."""

from __future__ import annotations

import pytest

from omniport.corpus.cache_agreement import Comparison, adapters_of, compare, markdown, read_adapters
from omniport.errors import OmniportError
from omniport.plan.model import BlockListPlan, Why

TEXT = """
@BlockAdapterRegister.register("Canvas")
def canvas(pipe, **kwargs):
    pattern = ForwardPattern.Pattern_0 if wide(pipe) else ForwardPattern.Pattern_2
    return BlockAdapter(pipe=pipe, blocks=pipe.transformer.blocks, forward_pattern=pattern)

@BlockAdapterRegister.register("Pair")
def pair(pipe, **kwargs):
    return BlockAdapter(
        blocks=[pipe.transformer.doubles, pipe.transformer.singles],
        forward_pattern=[ForwardPattern.Pattern_1, ForwardPattern.Pattern_3],
        patch_functor=PairPatchFunctor(),
    )
"""


def plan(attribute: str, pattern: int, cache: str = "stack") -> BlockListPlan:
    return BlockListPlan(attribute, "Block", pattern, Why(f"{attribute}: said so", "own.py", 1), cache)  # type: ignore[arg-type]


def test_adapters_are_read_as_text() -> None:
    canvas, pair = adapters_of(TEXT)
    assert canvas.variants == ({"blocks": 0}, {"blocks": 2}) and not canvas.functor
    assert pair.variants == ({"doubles": 1, "singles": 3},) and pair.functor


def test_a_pattern_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(OmniportError, match="which pattern guess"):
        adapters_of(TEXT.replace("forward_pattern=pattern", "forward_pattern=guess(pipe)"))


@pytest.mark.parametrize(
    ("name", "blocks", "verdict"),
    [
        ("CanvasModel", (plan("blocks", 0),), "agree"),
        ("CanvasModel", (plan("blocks", 3, "blocks"),), "agree"),  # one stream comes back, as with 2
        ("CanvasModel", (plan("blocks", 1),), "pattern 1 here, 0 there; blocks: said so"),
        ("CanvasModel", (plan("blocks", 0, ""),), "left out here: blocks: said so"),
        ("CanvasOther", (plan("layers", 3),), "the class has no list blocks; layers is cached here only"),
        ("PairModel", (plan("doubles", 1), plan("singles", 3)), "agree"),
        ("PairModel", (plan("doubles", 1),), "the class has no list singles"),
        ("Unknown", (plan("blocks", 3),), "cache-dit knows no class of this name"),
    ],
)
def test_verdicts(name: str, blocks: tuple[BlockListPlan, ...], verdict: str) -> None:
    found = compare(name, blocks, "", adapters_of(TEXT))
    assert (found.verdict, found.agrees) == (verdict, verdict == "agree")


def test_the_page_counts_what_agrees() -> None:
    adapters = adapters_of(TEXT)
    rows: list[Comparison] = [
        compare("CanvasModel", (plan("blocks", 0),), "", adapters),
        compare("CanvasOther", (plan("blocks", 1),), "", adapters),
        compare("PairModel", (), "a construct", adapters),
    ]
    page = markdown(rows)
    assert "for 2 of 3 classes" in page and "for 1 of them" in page
    assert "| PairModel | `Pair`: doubles 1, singles 3, patched | none | not ported |" in page


@pytest.mark.verify
def test_the_installed_cache_dit_is_understood() -> None:
    adapters = {a.prefix: a for a in read_adapters()}
    assert adapters["Flux"].variants and adapters["Chroma"].functor
    assert adapters["QwenImage"].variants[0] == {"transformer_blocks": 1}
