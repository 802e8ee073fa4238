"""What the rules of sequence parallelism make of published transformers, and twins that they must refuse."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sequence.plan import NAME
from omniport.plan.model import SpRegion
from omniport.rewrite.transformer import render_transformer
from omniport.source.tree import SourceTree
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import block_model, normal_form, transformer_plan

_PLANS: dict[str, ParallelPlan] = {}


def planned(tree: SourceTree, name: str) -> ParallelPlan:
    if name not in _PLANS:
        _PLANS[name] = plan_parallel(normalise(tree, tree.find_class(name, "models"), name).form, tree)
    return _PLANS[name]


def region(tree: SourceTree, name: str) -> SpRegion:
    found = planned(tree, name).region
    assert found is not None
    return found


def with_loop(loop: str) -> ParallelPlan:
    """A model whose loop over its blocks is ``loop``."""
    text = block_model(QKV, ATTEND).code
    old = text[text.index("        for block") : text.index("        return (self.proj_out")]
    lines = "".join(f"        {line}\n" for line in loop.splitlines())
    return plan_parallel(normal_form(text.replace(old, lines), "Root"))


def reason(found: ParallelPlan) -> str:
    return next(feature.why.reason for feature in found.features if feature.name == NAME and not feature.supported)


def test_a_number_that_cuts_a_rank_s_tokens_counts_them(diffusers: SourceTree) -> None:
    assert region(diffusers, "Flux2Transformer2DModel").counts == (("num_txt_tokens", ("encoder_hidden_states",)),)


def test_a_mask_made_of_tokens_is_put_together_for_all_keys(diffusers: SourceTree) -> None:
    found = planned(diffusers, "QwenImageTransformer2DModel")
    assert [attention.own_mask for attention in found.attentions] == [True]
    split = {t.variable: t.streams for t in region(diffusers, "QwenImageTransformer2DModel").split}
    assert split["encoder_hidden_states_mask"] == ("encoder_hidden_states",)
    assert region(diffusers, "QwenImageTransformer2DModel").masks == ()
    # That of OmniGen comes whole from the caller: it stays whole, in the order of the ranks.
    assert not any(attention.own_mask for attention in planned(diffusers, "OmniGenTransformer2DModel").attentions)


def test_tokens_that_others_stand_for_have_to_be_given(diffusers: SourceTree) -> None:
    found = planned(diffusers, "PixArtTransformer2DModel")
    assert region(diffusers, "PixArtTransformer2DModel").required == ("encoder_hidden_states",)
    assert {attention.local for attention in found.attentions} == {True, False}


def test_tables_of_a_dict_are_split_by_their_keys(diffusers: SourceTree) -> None:
    split = region(diffusers, "AnyFlowTransformer3DModel").split
    assert {t.item for t in split if t.variable == "rotary_emb"} == {"query", "key"}
    assert [t.item is None for t in split] == sorted((t.item is None for t in split), reverse=True)


def test_a_modulation_with_one_row_for_all_tokens_stays(diffusers: SourceTree) -> None:
    split = {t.variable: t for t in region(diffusers, "LTXVideoTransformer3DModel").split}
    assert split["temb"].broadcast and split["temb"].rank is None


def test_long_skips_are_split_like_the_tokens(diffusers: SourceTree) -> None:
    assert region(diffusers, "HunyuanDiT2DModel").gather[0].streams == ("hidden_states",)


@pytest.mark.parametrize(("use", "refused"), [("kept.pop()", ""), ("kept.pop().flip(1)", "flip")])
def test_what_an_earlier_round_put_in_a_list_is_followed(use: str, refused: str) -> None:
    """The list is empty in the first round: a walk that ends with that round does not see what is taken out of it."""
    loop = f"kept = []\nfor block in self.blocks:\n    if len(kept) > 1:\n        x = x + {use}\n"
    found = with_loop(loop + "    x = block(x, pooled_projections, context)\n    kept.append(x)")
    assert refused in reason(found) if refused else found.region is not None


@pytest.mark.parametrize(("entry", "refused"), [("x", ""), ("x.flip(1)", "flip")])
def test_arguments_in_a_dict_are_followed(entry: str, refused: str) -> None:
    given = f'{{"x": {entry}, "temb": pooled_projections, "context": context}}'
    found = with_loop(f"for block in self.blocks:\n    given = {given}\n    x = block(**given)")
    assert refused in reason(found) if refused else found.region is not None


def test_a_region_without_the_places_of_its_tokens_is_none(diffusers: SourceTree) -> None:
    """Tables that are not understood are no values that may be left out; a mask is one."""
    block = "x = x if context is None else x * torch.fft.fft(context[0])\n" + textwrap.dedent(ATTEND)
    text = block_model(QKV, block, params=", image_rotary_emb=None").code
    text = text.replace("pooled_projections, context)", "pooled_projections, image_rotary_emb)")
    assert "how the tables of image_rotary_emb" in reason(plan_parallel(normal_form(text, "Root")))
    assert plan_parallel(normal_form(text.replace("image_rotary_emb", "control"), "Root")).region is not None
    assert region(diffusers, "CogView4Transformer2DModel").absent == ("attention_mask",)


def test_a_search_that_is_cut_short_names_what_it_met_before(diffusers: SourceTree) -> None:
    """Behind the first blocks of Motif one walk is left, which stops at tables that nothing tells of."""
    assert "tokens of different make-up" in reason(planned(diffusers, "MotifVideoTransformer3DModel"))


@pytest.mark.parametrize(
    ("name", "ahead"),
    [
        ("HunyuanVideoTransformer3DModel", True),  # refines its text
        ("Lumina2Transformer2DModel", True),  # refines text and picture, with blocks of the same class
        ("FluxTransformer2DModel", False),
        ("WanTransformer3DModel", False),
    ],
)
def test_attention_in_front_of_the_split_exchanges_nothing(diffusers: SourceTree, name: str, ahead: bool) -> None:
    """The context of a request does not know that hooks share out the tokens, so the port says so."""
    assert region(diffusers, name).ahead == ahead
    found = planned(diffusers, name)
    form = normalise(diffusers, diffusers.find_class(name, "models"), name).form
    text = render_transformer(form, transformer_plan(form, found), header="", attributes=(), separate_cfg=False)
    said = "get_forward_context().sp_plan_hooks_applied = True"
    assert text.count(said) == ahead
    assert not ahead or text.index(said) < text.index("= self.sequence_split(")
