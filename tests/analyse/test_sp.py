"""Sequence parallelism: what is split, and each construct that forbids it."""

from __future__ import annotations

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sp import NAME
from omniport.source.tree import SourceTree
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import CANVAS, block_model, normal_form


def entries(found: ParallelPlan) -> list[tuple[str, str | int, str, int, bool]]:
    return [(e.module, e.key, e.kind, e.dim, e.split_output) for e in found.sp]


def refusal(found: ParallelPlan) -> str:
    (feature,) = (f for f in found.features if f.name == NAME)
    assert not feature.supported and found.sp == () and feature.why.line
    return feature.why.reason


def test_flux_splits_both_streams(diffusers: SourceTree) -> None:
    name = "FluxTransformer2DModel"
    found = plan_parallel(normalise(diffusers, diffusers.find_class(name, "models"), name).form, diffusers)
    assert entries(found) == [
        ("", "hidden_states", "split", 1, False),
        ("", "img_ids", "split", 0, False),
        ("", "txt_ids", "split", 0, False),
        ("context_embedder", 0, "split", 1, True),
        ("proj_out", 0, "gather", 1, False),
    ]
    assert [e.dims for e in found.sp] == [3, 2, 2, 3, 3]


def test_keys_that_never_change_stay_whole() -> None:
    found = plan_parallel(normal_form(CANVAS, "CanvasTransformer"))
    assert entries(found) == [("x_embedder", 0, "split", 1, True), ("proj_out", 0, "gather", 1, False)]


def test_every_plan_has_a_split_output_hook(diffusers: SourceTree, reference: SourceTree) -> None:
    """Without one vLLM-Omni runs attention on each rank's own tokens and says nothing."""
    plans = [plan_parallel(normal_form(CANVAS, "CanvasTransformer")), plan_parallel(block_model(QKV, ATTEND))]
    name = "MiniTransformer2DModel"
    plans.append(plan_parallel(normalise(reference, reference.find_class(name), name).form, reference))
    for found in plans:
        assert sum(entry.split_output for entry in found.sp) == 1


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (ATTEND.replace("return x +", "x = x.mean(dim=1, keepdim=True) + x\nreturn x +"), "runs over the tokens"),
        (ATTEND.replace("return x +", "x = x + x[:, :1]\nreturn x +"), "cuts the tokens"),
        (ATTEND.replace("return x +", "x = x + x[:, 0][:, None]\nreturn x +"), "one token"),
        (ATTEND.replace("return x +", "x = x.flatten(0, 1).unflatten(0, (1, -1))\nreturn x +"), "merges"),
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


def test_a_model_without_a_boundary_module_is_refused() -> None:
    text = block_model(QKV, ATTEND).code
    text = text.replace(
        "x = self.proj_in(hidden_states)", "x = self.proj_in(hidden_states) + self.proj_in(hidden_states)"
    )
    assert "split_output" in refusal(plan_parallel(normal_form(text, "Root")))


def test_a_result_that_no_module_gives_is_refused() -> None:
    text = block_model(QKV, ATTEND).code.replace("return (self.proj_out(x),)", "return (self.proj_out(x) * 2,)")
    assert "not the result of one of its modules" in refusal(plan_parallel(normal_form(text, "Root")))
