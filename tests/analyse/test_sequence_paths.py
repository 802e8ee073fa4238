"""What conditions and assertions say, modules that a key picks, and values that are there on some paths only."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence import model, reason
from tests.analyse.test_sequence_classes import region
from tests.analyse.test_sequence_operations import LINES, planned
from tests.support.normal import normal_form


def with_mask(condition: str) -> ParallelPlan:
    """Blocks that bring a mask over the keys, which may be absent, to four axes under ``condition``."""
    turned = f"if {condition}:\n    temb = temb[:, None, None, :]\n"
    text = model(turned + LINES.replace("(q, k, v)", "(q, k, v, attn_mask=temb)"))
    mask = "mask = torch.zeros((len(rows), max(lengths)), dtype=torch.bool) if masked else None\n"
    text = text.replace("        for block", f"        {mask}        for block")
    text = text.replace("x, pooled_projections, context", "x, mask, context")
    given = "pooled_projections, rows: list[int], lengths: list[int], masked: bool)"
    return plan_parallel(normal_form(text.replace("pooled_projections)", given), "Root"))


@pytest.mark.parametrize(
    ("condition", "refused"),
    [
        ("temb is not None and temb.ndim == 2", ""),
        ("temb is not None and context is not None and temb.ndim == 2", ""),
        ("temb is not None and self.training", "mask cannot be given"),  # it may be there otherwise, too
    ],
)
def test_where_a_condition_fails_for_one_part_alone_that_part_is_false(condition: str, refused: str) -> None:
    found = with_mask(condition)
    masks = [(mask.variable, mask.dim) for mask in found.region.masks] if found.region else []
    assert masks == ([] if refused else [("mask", 1)])
    assert refused in reason(found)


@pytest.mark.parametrize(("said", "refused"), [("temb is None", ""), ("temb is not None", "flip")])
def test_a_path_ends_where_what_is_asserted_does_not_hold(said: str, refused: str) -> None:
    change = f"if self.training:\n    assert {said}\n    x = x.flip(1)\nelse:\n    x = x * 1"
    found = planned("x = x * 1", change, "x")
    assert refused in reason(found) if refused else found.region is not None


@pytest.mark.parametrize(("length", "refused"), [("x.shape[1]", ""), ("2 * x.shape[1]", "one entry for each token")])
def test_of_two_unknowns_of_one_statement_each_gets_the_walk_further(length: str, refused: str) -> None:
    """A vector that is repeated for each token has two axes; the other one is in the way as well."""
    change = f"x = x * temb[0].unsqueeze(1).expand(-1, {length}, -1) + temb[1].unsqueeze(1).expand(-1, {length}, -1)"
    text = model(f"{change}\n{LINES}", before="one, two = self.time(when), self.time(when * 0)")
    text = text.replace("x, pooled_projections, context", "x, (one, two), context")
    text = text.replace("pooled_projections)", "pooled_projections, when)")
    made = "        self.time = TimestepEmbedding(in_channels=8, time_embed_dim=dim)\n        self.blocks ="
    found = plan_parallel(normal_form(text.replace("        self.blocks =", made), "Root"))
    assert refused in reason(found) if refused else {t.variable for t in found.region.split} == {"x"}


def picked(layer: str, key: str) -> str:
    """A model with one last layer for each form of its input."""
    text = model(LINES, behind=f"x = self.last[{key}](x)\nx = x.flip(1)".replace("\n", "\n        "))
    made = f'        last = {{}}\n        for size in sizes:\n            last[f"{{size}}"] = {layer}\n'
    made += "        self.last = nn.ModuleDict(last)\n        self.blocks ="
    text = text.replace("        self.blocks =", made).replace("depth: int = 2", "depth: int = 2, sizes=(2,)")
    return text.replace("pooled_projections)", "pooled_projections, size: int = 2)")


@pytest.mark.parametrize(("layer", "within"), [("nn.Linear(dim, dim)", 2), ("nn.Softmax(dim=1)", 1)])
def test_a_module_that_a_key_picks_is_one_of_those_put_in(layer: str, within: int) -> None:
    found = plan_parallel(normal_form(picked(layer, 'f"{size}"'), "Root")).region
    assert found is not None and found.end - found.start == within


@pytest.mark.parametrize(
    ("behind", "refused"),
    [
        ("x = x.flip(1)", ""),
        ("x = x.flip(1)\n        if rows is not None:\n            x = x + rows", "rows cannot be given"),
    ],
)
def test_what_may_be_absent_is_not_put_together(behind: str, refused: str) -> None:
    change = "if temb is not None:\n    x = x + temb"
    text = model(f"{change}\n{LINES}", before="rows = self.proj_in(hidden_states) if masked else None", behind=behind)
    text = text.replace("x, pooled_projections, context", "x, rows, context")
    text = text.replace("pooled_projections)", "pooled_projections, masked: bool)")
    found = plan_parallel(normal_form(text, "Root"))
    assert refused in reason(found) if refused else {t.variable for t in found.region.split} == {"x", "rows"}


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    unified = region(diffusers, "ZImageTransformer2DModel")
    assert [t.variable for t in unified.split] == ["unified", "unified_freqs", "unified_noise_tensor"]
    assert [(m.variable, m.dim, m.optional) for m in unified.masks] == [("unified_mask", 1, True)]
    assert unified.end == unified.start + 2 and [t.variable for t in unified.gather] == ["unified"]
    assert "in front of it have all their tokens" in unified.why.reason
