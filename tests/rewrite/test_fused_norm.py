"""diffusers' RMS norms run in one kernel, to the last bit as diffusers rounds; every other norm stays."""

from __future__ import annotations

from typing import Any

import libcst as cst
import pytest
import torch
from diffusers.models.normalization import RMSNorm

from omniport.rewrite.fused_norm import CLASS, HELPERS, fuse_norms
from omniport.rewrite.syntax import imported_names

IMPORT = "from diffusers.models.normalization import RMSNorm\n"


def block(made: str) -> str:
    return f"class Block(nn.Module):\n    def __init__(self, dim, eps, affine):\n        self.norm = {made}\n"


def fused(text: str) -> tuple[str, str]:
    module = cst.parse_module(text)
    made, helper = fuse_norms(module, imported_names(module))
    assert (made is module) == (helper == "")
    return made.code, helper


@pytest.mark.parametrize(
    ("arguments", "weight", "none"),
    [
        ("dim, eps=eps", True, False),
        ("dim, eps, True, False", True, False),
        ("dim, eps=eps, elementwise_affine=True, bias=False", True, False),
        ("0, 1e-6, False", False, True),
        ("dim, eps=eps, elementwise_affine=False", False, True),
        ("dim, eps=eps, elementwise_affine=affine", True, True),
    ],
)
def test_a_norm_is_made_by_the_class_of_the_port(arguments: str, weight: bool, none: bool) -> None:
    text = IMPORT + block(f"nn.Sequential(RMSNorm({arguments}))")
    helper = HELPERS[weight, none].replace("{base}", "RMSNorm")
    assert fused(text) == (IMPORT + block(f"nn.Sequential({CLASS}({arguments}))"), helper)


def test_norms_of_both_kinds_share_a_class() -> None:
    text = IMPORT + block("RMSNorm(dim, eps)") + block("RMSNorm(dim, eps, False)")
    assert fused(text)[1] == HELPERS[True, True].replace("{base}", "RMSNorm")


def test_the_class_extends_the_norm_under_the_name_it_has() -> None:
    made, helper = fused(IMPORT.replace("\n", " as Norm\n") + block("Norm(dim, eps)"))
    assert f"self.norm = {CLASS}(dim, eps)" in made and f"class {CLASS}(Norm):" in helper


KEPT = {
    "a bias": IMPORT + block("RMSNorm(dim, eps=eps, bias=True)"),
    "perhaps a bias": IMPORT + block("RMSNorm(dim, eps, True, affine)"),
    "hidden arguments": IMPORT + block("RMSNorm(*dim, eps=eps)"),
    "torch's": "from torch import nn\n" + block("nn.RMSNorm(dim, eps=eps)"),
    "its own": "from own.norms import RMSNorm\n" + block("RMSNorm(dim, eps=eps)"),
    "the name is taken": IMPORT + block("RMSNorm(dim, eps=eps)") + f"class {CLASS}: ...\n",
    "only named": IMPORT + block("isinstance(dim, RMSNorm)"),
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_any_other_norm_stays(text: str) -> None:
    assert fused(text) == (text, "")


def kernel(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float) -> None:
    """What vLLM's kernel computes: it rounds the normalised value, then the product."""
    assert x.dtype == weight.dtype and x.ndim == 2 and out.is_contiguous()
    normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    out.copy_(normed.to(x.dtype) * weight)


def once(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float) -> None:
    """A kernel that rounds the product alone."""
    normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
    out.copy_(normed * weight.float())


def norms(weight: bool, none: bool, of_kernel: Any = kernel) -> tuple[Any, Any]:
    """The port's norm, as on a GPU, and diffusers'."""
    source = HELPERS[weight, none].replace("{base}", "RMSNorm").replace("not hidden_states.is_cuda or ", "")
    space: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "RMSNorm": RMSNorm, "fused_rms_norm": of_kernel}
    exec(source, space)
    made, reference = (cls(96, 1e-6, elementwise_affine=weight) for cls in (space[CLASS], RMSNorm))
    if weight:
        torch.manual_seed(0)
        torch.nn.init.normal_(reference.weight)
        made.load_state_dict(reference.state_dict())
    return made, reference


@pytest.mark.parametrize("x_type", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7, 96), (2, 7, 96), (2, 3, 1, 7, 96)])
def test_a_weighted_norm_gives_diffusers_bits(x_type: torch.dtype, type_: torch.dtype, shape: tuple[int, ...]) -> None:
    made, reference = (norm.to(type_) for norm in norms(True, False))
    x = torch.randn(shape).to(x_type)
    given, expected = made(x), reference(x)
    assert given.dtype == expected.dtype and torch.equal(given, expected)


def test_a_kernel_that_rounds_once_is_seen() -> None:
    made, reference = (norm.to(torch.bfloat16) for norm in norms(True, False, once))
    x = torch.randn(64, 96, dtype=torch.bfloat16)
    assert not torch.equal(made(x), reference(x))


@pytest.mark.parametrize("kind", [(False, True), (True, True)])
def test_a_norm_without_a_weight_rounds_as_diffusers(kind: tuple[bool, bool]) -> None:
    made, _ = norms(*kind)
    made.weight = None
    reference = RMSNorm(0, 1e-6, elementwise_affine=False)
    x = torch.randn(2, 64, 96)
    assert torch.allclose(made(x), reference(x), rtol=1e-6, atol=1e-7)
    half = x.bfloat16()
    assert made(half).dtype == torch.bfloat16 and torch.equal(made(half), reference(half))


def test_a_compiler_gets_the_operations_of_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    made, reference = norms(True, False, of_kernel=None)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    x = torch.randn(7, 96)
    assert torch.equal(made(x), reference(x))
