"""Sequence parallelism: what is split, and each construct that forbids it."""

from __future__ import annotations

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sequence.plan import NAME
from omniport.source.tree import SourceTree
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import CANVAS, block_model, normal_form


def entries(found: ParallelPlan) -> list[tuple[str, str | int, str, int, bool]]:
    return [(e.module, e.key, e.kind, e.dim, e.split_output) for e in found.sp]


def refusal(found: ParallelPlan) -> str:
    (feature,) = (f for f in found.features if f.name == NAME)
    assert not feature.supported and found.sp == () and feature.why.line
    return feature.why.reason


def test_flux_splits_both_streams_and_its_tables_by_stream(diffusers: SourceTree) -> None:
    name = "FluxTransformer2DModel"
    found = plan_parallel(normalise(diffusers, diffusers.find_class(name, "models"), name).form, diffusers)
    assert entries(found) == [
        ("sequence_split", 0, "split", 1, True),
        ("sequence_split", 1, "split", 1, True),
        *(("sequence_split", index, "split", 0, True) for index in (2, 3, 4, 5)),
        ("proj_out", 0, "gather", 1, False),
    ]
    image, text = "hidden_states", "encoder_hidden_states"
    assert [e.group for e in found.sp] == [image, text, text, image, text, image, image]
    assert all(e.auto_pad for e in found.sp if e.kind == "split")
    assert {a.streams for a in found.attentions} == {(text, image)} and not any(a.local for a in found.attentions)
    assert found.region is not None and found.region.masks == () and found.region.absent == ()


def test_keys_that_never_change_stay_whole() -> None:
    found = plan_parallel(normal_form(CANVAS, "CanvasTransformer"))
    assert entries(found) == [("sequence_split", 0, "split", 1, True), ("proj_out", 0, "gather", 1, False)]
    assert [(a.kind, a.local) for a in found.attentions if a.kind == "cross"] == [("cross", True)]


def test_every_plan_has_a_split_output_hook(diffusers: SourceTree, reference: SourceTree) -> None:
    """Without one vLLM-Omni runs attention on each rank's own tokens and says nothing; with several modules that have
    one, its count of split regions never comes back to none."""
    plans = [plan_parallel(normal_form(CANVAS, "CanvasTransformer")), plan_parallel(block_model(QKV, ATTEND))]
    name = "MiniTransformer2DModel"
    plans.append(plan_parallel(normalise(reference, reference.find_class(name), name).form, reference))
    for found in plans:
        assert {entry.module for entry in found.sp if entry.split_output} == {"sequence_split"}


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (ATTEND.replace("return x +", "x = x.mean(dim=1, keepdim=True) + x\nreturn x +"), "runs over the tokens"),
        (ATTEND.replace("return x +", "x = x + x[:, :1]\nreturn x +"), "cuts the tokens"),
        (ATTEND.replace("return x +", "x = x + x[:, 0][:, None]\nreturn x +"), "one token"),
        (ATTEND.replace("return x +", "x = x.transpose(1, 2).flatten(1, 2)[:, None]\nreturn x +"), "merges"),
        (ATTEND.replace("return x +", "x = x + x.mT.mean(2)[:, None]\nreturn x +"), "x.mT is not known"),
        (ATTEND.replace("return x +", "x = x + x.nowhere.mT\nreturn x +"), "x.nowhere.mT is not known"),
        (ATTEND.replace("return x +", "x = x.flatten(0, 1).unflatten(0, (1, -1))\nreturn x +"), "cuts the tokens"),
        (
            ATTEND.replace("return x +", "x = x + torch.arange(x.shape[1])[None, :, None]\nreturn x +"),
            "number of tokens",
        ),
        (ATTEND.replace("return x +", "x = x / x.shape[1]\nreturn x +"), "number of tokens"),
        ("return x + self.to_out(self.to_q(x) + self.to_k(x) + self.to_v(x))", "no attention call"),
    ],
)
def test_what_mixes_tokens_is_refused(forward: str, reason: str) -> None:
    lines = [line.strip() for line in forward.strip().splitlines()]
    assert reason in refusal(plan_parallel(block_model(QKV, "\n".join(lines))))


def test_cross_attention_alone_is_refused() -> None:
    forward = ATTEND.replace("self.to_k(x)", "self.to_k(context)").replace("self.to_v(x)", "self.to_v(context)")
    assert "no attention call mixes" in refusal(plan_parallel(block_model(QKV, forward)))


@pytest.mark.parametrize(
    ("result", "gathered"),
    [
        ("(self.proj_out(x),)", "sequence_gather"),  # the tokens are put together in front of the return
        ("(self.proj_out(x.flip(1)),)", "sequence_gather"),
    ],
)
def test_tokens_are_put_together_where_operations_on_single_ones_end(result: str, gathered: str) -> None:
    text = block_model(QKV, ATTEND).code.replace("return (self.proj_out(x),)", f"return {result}")
    found = plan_parallel(normal_form(text, "Root"))
    assert entries(found)[-1] == (gathered, 0, "gather", 1, False)
