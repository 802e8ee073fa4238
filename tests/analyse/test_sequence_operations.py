"""Lengths that are one, ranks that are found out, and what they must not be taken for."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence import model, reason
from tests.analyse.test_sequence_classes import region, with_loop
from tests.analyse.test_tp import ATTEND
from tests.support.normal import normal_form

LINES = "\n".join(line.strip() for line in ATTEND.strip().splitlines())


def planned(before: str, change: str, value: str, params: str = "") -> ParallelPlan:
    """A model whose blocks change ``x`` by ``change``, given ``value`` in place of their vector."""
    text = model(f"{change}\n{LINES}", before=before).replace("x, pooled_projections, context", f"x, {value}, context")
    return plan_parallel(normal_form(text.replace("pooled_projections)", f"pooled_projections{params})"), "Root"))


@pytest.mark.parametrize(
    ("length", "refused"),
    [("x.shape[1]", ""), ("x.shape[1] + 1", "one entry for each"), ("context.shape[1]", "one entry for each")],
)
def test_a_table_as_long_as_the_tokens_is_split_with_them(length: str, refused: str) -> None:
    before = f"rows = torch.outer(torch.arange({length}), torch.arange(heads * head_dim))"
    found = planned(before.replace("heads * head_dim", "8"), "x = x + temb[-x.shape[1] :].unsqueeze(0)", "rows")
    assert refused in reason(found) if refused else {t.variable for t in found.region.split} == {"x", "rows"}


@pytest.mark.parametrize(
    ("change", "ranks"),
    [
        ("x = x * temb.unsqueeze(1)", {"x": None}),  # one vector for each sample
        ("if temb.ndim == 3:\n    x = x + temb\nelse:\n    x = x * temb.unsqueeze(1)", {"x": None, "vector": 3}),
    ],
)
def test_a_value_that_meets_the_batch_and_a_width_has_no_rows_for_tokens(
    change: str, ranks: dict[str, int | None]
) -> None:
    """Where the program asks how many axes it has, it may have rows for tokens all the same."""
    found = planned("x = x * 1", change, "vector", params=", vector")
    assert found.region is not None and {t.variable: t.rank for t in found.region.split} == ranks


@pytest.mark.parametrize(
    ("does", "refused"), [("raise ValueError('lengths')", ""), ("x = x * 2", "compares the number of tokens")]
)
def test_lengths_that_differ_end_the_program(does: str, refused: str) -> None:
    change = f"if temb.shape[1] != x.shape[1]:\n    {does}\nx = x + temb"
    found = planned("rows = self.proj_in(hidden_states)", change, "rows")
    assert refused in reason(found) if refused else {t.variable for t in found.region.split} == {"x", "rows"}


@pytest.mark.parametrize(
    ("mask", "refused"),
    [
        ("temb[:, None, None, :]", ""),
        ("temb[:, None, None, :] & temb[:, None, :, None]", "made of tokens is not one over keys alone"),
    ],
)
def test_a_mask_that_hides_tokens_as_well_is_put_together_for_all_keys(mask: str, refused: str) -> None:
    """It is split with the tokens, so that each rank has that of its own keys."""
    text = model(f"x = x * temb[:, :, None]\n{LINES}".replace("(q, k, v)", f"(q, k, v, attn_mask={mask})"))
    text = text.replace("x, pooled_projections, context", "x, mask, context")
    found = plan_parallel(normal_form(text.replace("pooled_projections)", "pooled_projections, mask)"), "Root"))
    if refused:
        assert refused in reason(found)
    else:
        assert found.region is not None and {t.variable for t in found.region.split} == {"x", "mask"}
        assert [a.own_mask for a in found.attentions] == [True] and found.region.masks == ()


@pytest.mark.parametrize(
    ("first", "between", "refused"),
    [
        ("x", "x = torch.cat([context, x], dim=1) + x.mean(1, keepdim=True)", ""),  # more tokens than in front
        ("x.flip(1)", "count = 2", "flip"),  # the same tokens
        ("x", "x = x.mean(1, keepdim=True) + x", "runs over the tokens"),
    ],
)
def test_blocks_in_front_of_joined_tokens_keep_theirs(first: str, between: str, refused: str) -> None:
    loop = "for block in self.blocks:\n    x = block({}, pooled_projections, context)\n"
    found = with_loop(loop.format(first) + between + "\n" + loop.format("x"))
    assert refused in reason(found) if refused else found.region is not None
    assert found.region is None or "in front of it have all their tokens" in reason(found)


@pytest.mark.parametrize(
    ("between", "within", "refused"),
    [
        ("x = x.squeeze(1)", "x = x * 2", "drops the axis of a single token"),
        ("temb = x.mean(2).squeeze(0)", "x = x * 2", ""),  # of a single sample
    ],
)
def test_an_axis_that_a_single_token_would_lose(between: str, within: str, refused: str) -> None:
    """A rank may hold one token where the whole sequence has several."""
    loop = "for block in self.blocks:\n    x = block(x, pooled_projections, context)\n"
    text = model(f"{within}\n{LINES}")
    old = text[text.index("        for block") : text.index("        return (self.proj_out")]
    lines = "".join(f"        {line}\n" for line in f"{loop}{between}\n{loop}".splitlines())
    found = plan_parallel(normal_form(text.replace(old, lines), "Root"))
    assert refused in reason(found) if refused else found.region is not None


@pytest.mark.parametrize(("use", "refused"), [("x if masked else x * 2", ""), ("x * masked", "what masked holds")])
def test_what_a_call_made_may_be_asked(use: str, refused: str) -> None:
    found = with_loop(
        f"masked = chosen(x.shape[1])\nfor block in self.blocks:\n    x = block({use}, pooled_projections, context)"
    )
    assert refused in reason(found) if refused else found.region is not None


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    audio = region(diffusers, "StableAudio3DiTModel")
    assert audio.absent == ("local_add_cond",) and {t.variable for t in audio.split} == {"x", "rope"}
    layers = {t.variable: t for t in region(diffusers, "BriaFiboTransformer2DModel").split}["text_encoder_layers"]
    assert (layers.item, layers.dim, layers.streams) == (-1, -2, ("encoder_hidden_states",))
    mask = {t.variable: t for t in region(diffusers, "PRXTransformer2DModel").split}["attention_mask"]
    assert mask.streams == ("txt",)
    assert [m.variable for m in region(diffusers, "LuminaNextDiT2DModel").masks] == ["mask"]
    sliding = region(diffusers, "AceStepTransformer1DModel").masks
    assert [(m.variable, m.dim) for m in sliding] == [("sliding_attn_mask", 2), ("sliding_attn_mask", 3)]
    hides = {t.variable: t for t in region(diffusers, "LongCatAudioDiTTransformer").split}["attention_mask"]
    assert hides.streams == ("hidden_states",) and hides.optional
    joint = region(diffusers, "Lumina2Transformer2DModel")
    assert [(m.variable, m.streams) for m in joint.masks] == [("attention_mask", ("hidden_states",))]
