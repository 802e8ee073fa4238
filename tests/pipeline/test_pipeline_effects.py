"""Two calls become one only where what happens between them is not seen by the first."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.effects import changes_held
from omniport.rewrite.pipeline.guidance import guided
from tests.pipeline.helpers import block, function
from tests.pipeline.test_pipeline_loop import ONE, entry

HELD = {"cache", "latents", "mask"}

CHANGES = (
    'cache.set_mode("skip")',
    'if other:\n    cache.set_mode("skip")',
    "clear(cache)",
    "cache.mode = 1",
    "mask[:, 0] = 1",
    "latents += noise",
    "latents.mul_(2)",
    'self.transformer.set_adapters("second")',
)

NONE = (
    "bar.update()",
    "seen = cache.mode",
    "latents = latents + noise",
    "other[0] = mask",
    "other = clear(cache)",
    "self.transformers.update()",
    "mask.to(device)",
)


@pytest.mark.parametrize("source", CHANGES)
def test_changes_of_what_is_held(source: str) -> None:
    assert changes_held(block(source), HELD, ("self.transformer",))


@pytest.mark.parametrize("source", NONE)
def test_no_changes(source: str) -> None:
    assert not changes_held(block(source), HELD, ("self.transformer",))


@pytest.mark.parametrize(
    ("between", "pairs"),
    [
        ("pass", 1),
        ("positive.set_mode(1)", 0),  # of GlmImage, whose cache of a picture's keys is read by one of the two calls
        ("negative.set_mode(1)", 1),
        ("self.transformer.switch()", 0),
        ("latents[0] = 0", 0),
    ],
)
def test_calls_that_something_lies_between_are_no_pair(between: str, pairs: int) -> None:
    assert len(guided(function(entry(between=between)), ONE).pairs) == pairs
