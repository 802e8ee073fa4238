"""Norms across heads: the short layer where every norm is one over mean squares, of a weight and an epsilon."""

from __future__ import annotations

from typing import Any, cast

import libcst as cst
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from omniport.plan.model import Decision, TransformerPlan, Why
from omniport.rewrite.norms import LAYER_NORM, PLAIN, RMS_NORM, SUBJECT, norm_helpers


class Plan:
    """A plan with nothing but norms."""

    def __init__(self, *kinds: str) -> None:
        self.decisions = tuple(Decision(f"{SUBJECT}A.norm{n}", kind, Why("")) for n, kind in enumerate(kinds))


def helpers(made: str, *kinds: str) -> str:
    text = f"class A(nn.Module):\n    def __init__(self, dim, eps):\n        self.norm0 = {made}\n"
    return norm_helpers(cast(TransformerPlan, Plan(*kinds)), cst.parse_module(text))


@pytest.mark.parametrize("made", ["ShardedRMSNorm(dim, eps=eps)", "ShardedRMSNorm(dim, 1e-5)", "nn.LayerNorm(dim)"])
def test_the_short_layer_serves_a_width_and_an_epsilon(made: str) -> None:
    assert helpers(made, "rms") == PLAIN


@pytest.mark.parametrize(
    "made",
    [
        "ShardedRMSNorm(dim)",  # an epsilon of its precision
        "ShardedRMSNorm(dim, None)",
        "ShardedRMSNorm(dim, eps=eps, elementwise_affine=False)",
        "ShardedRMSNorm(dim, eps, True, True)",
        "ShardedRMSNorm(*dim)",
    ],
)
def test_other_norms_have_the_layer_that_serves_all(made: str) -> None:
    assert helpers(made, "rms") == RMS_NORM


def test_layer_norms_have_both() -> None:
    assert helpers("ShardedLayerNorm(dim, eps)", "layer") == RMS_NORM + "\n" + LAYER_NORM
    assert helpers("nn.LayerNorm(dim)") == ""


def run(text: str, ranks: int, rank: int, gathered: list[torch.Tensor]) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """The names that a helper defines on one rank of several; what it reduces is noted, or taken from ``gathered``."""
    sent: list[torch.Tensor] = []

    def reduce(x: torch.Tensor) -> torch.Tensor:
        sent.append(x)
        return gathered[len(sent) - 1] if gathered else x

    names: dict[str, Any] = {
        "nn": nn,
        "torch": torch,
        "F": F,
        "get_tensor_model_parallel_world_size": lambda: ranks,
        "tensor_model_parallel_all_reduce": reduce,
        "set_weight_attrs": lambda *_: None,
        "sharded_weight_loader": lambda _: None,
    }
    exec(compile(f"from __future__ import annotations\n{text}", "helper", "exec"), names)
    return names, sent


@pytest.mark.parametrize("text", [PLAIN, RMS_NORM, PLAIN.replace("self.eps))", "self.eps + 1))")])
def test_two_ranks_normalise_as_one(text: str) -> None:
    x, weight = torch.randn(2, 3, 8), torch.rand(8)
    want = F.rms_norm(x, (8,), weight, 1e-5)
    parts = x.chunk(2, dim=-1)
    sums: list[torch.Tensor] = []
    for gathered in (False, True):
        got = []
        sent = []
        for rank, part in enumerate(parts):
            names, noted = run(text, 2, rank, sums if gathered else [])
            norm = names["ShardedRMSNorm"](8, 1e-5)
            norm.weight.data.copy_(weight.chunk(2)[rank])
            got.append(norm(part))
            sent.append(noted)
        sums = [sum(each, torch.zeros(())) for each in zip(*sent, strict=True)]
    same = torch.allclose(torch.cat(got, dim=-1), want, atol=1e-6)
    assert same == (text in (PLAIN, RMS_NORM))
    names, _ = run(text, 1, 0, [])
    alone = names["ShardedRMSNorm"](8, 1e-5)
    alone.weight.data.copy_(weight)
    assert torch.equal(alone(x), want)
