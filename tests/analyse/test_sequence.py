"""Sequence parallelism: values that are split, reordered or refused at the border of the blocks."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sequence.plan import NAME
from omniport.plan.model import SpRegion
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import block_model, joint, normal_form, noted, port_text


def region(text: str) -> SpRegion:
    found = plan_parallel(normal_form(text, "Root"))
    assert found.region is not None, reason(found)
    return found.region


def reason(found: ParallelPlan) -> str:
    return next(feature.why.reason for feature in found.features if feature.name == NAME)


def model(forward: str, *, before: str = "", behind: str = "") -> str:
    """A model whose forward runs ``before`` in front of the blocks and ``behind`` them."""
    text = block_model(QKV, forward).code
    text = text.replace("        for block", f"        {before}\n        for block") if before else text
    return (
        text.replace("return (self.proj_out(x),)", f"{behind}\n        return (self.proj_out(x),)") if behind else text
    )


def test_the_region_is_the_loop_and_what_follows_token_by_token() -> None:
    found = region(model(ATTEND))
    assert [(t.variable, t.dim, t.dims, t.streams) for t in found.split] == [("x", 1, 3, ("x",))]
    assert [(t.variable, t.dim, t.streams) for t in found.gather] == [("x", 1, ("x",))]
    assert found.end > found.start


def test_tokens_are_put_together_in_front_of_what_mixes_them() -> None:
    found = region(model(ATTEND, behind="x = x - x.mean(dim=1, keepdim=True)"))
    text = port_text(normal_form(model(ATTEND, behind="x = x - x.mean(dim=1, keepdim=True)"), "Root"))
    assert found.end == found.start + 1
    assert text.index("self.sequence_gather(x)") < text.index("x.mean(")


def test_a_count_of_tokens_taken_within_the_blocks_is_not_read_behind_them() -> None:
    text = block_model(QKV, ATTEND).code
    loop = text[text.index("        for block") : text.index("        return (self.proj_out")]
    behind = "        x = x.flip(1)\n        x = x[:, :count]\n"
    within = text.replace(loop, loop + "            count = x.shape[1]\n" + behind)
    assert "counts the tokens of a rank" in reason(plan_parallel(normal_form(within, "Root")))
    after = text.replace(loop, loop + "        count = x.shape[1]\n" + behind)
    assert region(after).end == region(text).end  # the tokens are put together in front of the count


def test_a_row_for_each_token_is_split_with_the_tokens() -> None:
    forward = "x = x + temb\n" + "\n".join(line.strip() for line in ATTEND.strip().splitlines())
    text = model(forward, before="rows = self.proj_in(hidden_states)").replace("x, pooled_projections", "x, rows")
    assert {(t.variable, t.dim, t.streams) for t in region(text).split} == {("x", 1, ("x",)), ("rows", 1, ("x",))}


def test_the_streams_of_the_keys_are_named_for_the_padding_mask() -> None:
    found = plan_parallel(normal_form(model(ATTEND), "Root"))
    assert [a.streams for a in found.attentions] == [("x",)]
    assert "sequence_metadata(" in port_text(normal_form(model(ATTEND), "Root"))


def test_what_a_call_made_and_nothing_followed_is_not_read_by_the_blocks() -> None:
    """A function of sizes alone may give a table with a row for each token."""
    text = model(ATTEND, before="rows = make_rows(x.shape[1])").replace("x, pooled_projections", "x, rows")
    assert reason(plan_parallel(normal_form(text, "Root"))) == "what rows holds is not followed"


def test_such_a_value_that_the_blocks_do_not_read_is_none_of_their_business() -> None:
    assert region(model(ATTEND, before="rows = make_rows(x.shape[1])")).split


@pytest.mark.parametrize(("mask", "axes"), [("mask", [-2, -1]), ("mask[:, None, None, :]", [-1])])
def test_a_mask_of_guessed_rank_is_reordered_along_queries_and_keys(mask: str, axes: list[int]) -> None:
    """What attention is given has to show how many axes there are: a guess of two would miss the queries' axis."""
    text = joint().code.replace("mask[:, None, None, :]", mask)
    assert [t.dim for t in region(text).masks] == axes


def test_a_number_counts_the_tokens_of_the_value_that_the_blocks_change() -> None:
    """``encoder_hidden_states`` has as many, and no rank holds a share of it."""
    assert region(joint().code).counts == (("count", ("context",)),)
    apart = joint().code.replace("both[:, :count]", "both[:, :count] / count")
    assert "number of tokens" in reason(plan_parallel(normal_form(apart, "Root")))
    behind = joint().code.replace("return (self.proj_out(x),)", "return (self.proj_out(x) / count,)")
    assert "read behind the blocks" in reason(plan_parallel(normal_form(behind, "Root")))


def test_tokens_that_stand_for_others_are_refused_unless_these_are_given() -> None:
    assert region(noted().code).required == ("context",)
    swapped = noted().code.replace("    context = x\n", "    context = x.flip(1)\n")
    assert reason(plan_parallel(normal_form(swapped, "Root"))) != reason(plan_parallel(noted()))
