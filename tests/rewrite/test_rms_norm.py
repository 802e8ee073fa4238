"""Norms of query and key become vLLM's; every other norm stays."""

from __future__ import annotations

from typing import Any

import libcst as cst
import pytest
import torch

from omniport.plan.model import AttentionPlan, TransformerPlan, Why
from omniport.rewrite.rms_norm import ALIAS, HELPER, NAME, rewrite_rms_norms
from omniport.rewrite.syntax import imported_names

PLAN = TransformerPlan(
    class_name="Root",
    module="own",
    parameters=(),
    forward=(),
    dropped=(),
    classes=(),
    linears=(),
    attentions=(AttentionPlan("Attn", "heads", "heads", "head_dim", "1", False, "self", Why("")),),
    weights=(),
    sp=(),
    blocks=(),
    features=(),
    decisions=(),
)
TORCH = "from torch import nn\n"
OTHERS = "from diffusers.models.normalization import RMSNorm\n"


def attention(made: str, applied: str = "query = self.norm_q(query)", name: str = "Attn") -> str:
    return (
        f"class {name}(nn.Module):\n"
        "    def __init__(self, dim, eps, affine):\n"
        f"        self.norm_q = {made}\n"
        "    def forward(self, query):\n"
        f"        {applied}\n"
        "        return query\n"
    )


def rewritten(text: str) -> tuple[str, str]:
    module = cst.parse_module(text)
    made, helper = rewrite_rms_norms(module, PLAN, imported_names(module))
    return made.code, helper


@pytest.mark.parametrize(
    ("head", "made"),
    [
        (TORCH, "nn.RMSNorm(dim, eps=eps)"),
        (TORCH, "nn.RMSNorm(dim, eps)"),
        (TORCH, "nn.RMSNorm(dim, eps=eps, elementwise_affine=True)"),
        (TORCH + OTHERS, "RMSNorm(dim, eps=eps)"),
        (TORCH + OTHERS, "RMSNorm(dim, eps=eps, elementwise_affine=True, bias=False)"),
    ],
)
def test_a_norm_of_queries_is_replaced(head: str, made: str) -> None:
    expected = TORCH + attention("QKNorm(dim, eps=eps)"), HELPER.format(base=NAME)
    assert rewritten(head + attention(made)) == expected


KEPT = {
    "no epsilon": TORCH + attention("nn.RMSNorm(dim)"),
    "none for epsilon": TORCH + attention("nn.RMSNorm(dim, eps=None)"),
    "no weight": TORCH + attention("nn.RMSNorm(dim, eps=eps, elementwise_affine=False)"),
    "perhaps a weight": TORCH + attention("nn.RMSNorm(dim, eps=eps, elementwise_affine=affine)"),
    "a bias": TORCH + OTHERS + attention("RMSNorm(dim, eps=eps, bias=True)"),
    "a layer norm": TORCH + attention("nn.LayerNorm(dim, eps=eps)"),
    "its own class": TORCH + "from own.norms import RMSNorm\n" + attention("RMSNorm(dim, eps=eps)"),
    "another tensor": TORCH + attention("nn.RMSNorm(dim, eps=eps)", "x = self.norm_q(query)"),
    "two arguments": TORCH + attention("nn.RMSNorm(dim, eps=eps)", "query = self.norm_q(query, query)"),
    "the name is taken": TORCH + attention("nn.RMSNorm(dim, eps=eps)") + "class QKNorm: ...\n",
    "no attention layer": TORCH + attention("nn.RMSNorm(dim, eps=eps)", name="Block"),
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_any_other_norm_stays(text: str) -> None:
    assert rewritten(text) == (text, "")


def test_vllms_norm_has_another_name_beside_diffusers() -> None:
    text = TORCH + OTHERS + attention("RMSNorm(dim, eps=eps)") + attention("RMSNorm(dim, eps=eps)", name="Block")
    expected = attention("QKNorm(dim, eps=eps)") + attention("RMSNorm(dim, eps=eps)", name="Block")
    assert rewritten(text) == (TORCH + OTHERS + expected, HELPER.format(base=ALIAS))


@pytest.mark.parametrize("compiling", [True, False])
def test_a_compiler_gets_the_operations_of_the_norm(compiling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel(torch.nn.Module):
        variance_epsilon = 0.1

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    space: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "RMSNorm": Kernel}
    exec(HELPER.format(base=NAME), space)
    norm, x = space["QKNorm"](), torch.randn(2, 3, 6)
    reference = x / (x.pow(2).mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight
    assert torch.allclose(norm(x), reference if compiling else x, atol=1e-6)
