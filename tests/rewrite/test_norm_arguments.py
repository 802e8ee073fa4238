"""Norms name what they are given, and leave out what is the default; the layers stay the same."""

from __future__ import annotations

import libcst as cst
import pytest
from torch import nn

from omniport.rewrite.norm_arguments import PARAMETERS, name_norm_arguments

IMPORTED = {
    "nn": "torch.nn",
    "LayerNorm": "diffusers.models.normalization.LayerNorm",
    "FP32LayerNorm": "diffusers.models.normalization.FP32LayerNorm",
    "RMSNorm": "diffusers.models.normalization.RMSNorm",
    "OtherNorm": "vllm.model_executor.layers.layernorm.RMSNorm",
}
CLASS = "class A(nn.Module):\n    def __init__(self, dim, eps, affine):\n        self.norm = {made}\n"


def run(made: str, imported: dict[str, str] = IMPORTED) -> str:
    module = cst.parse_module(CLASS.format(made=made))
    return name_norm_arguments(module, imported).code.rpartition("self.norm = ")[2].strip()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("nn.LayerNorm(dim, eps, affine)", "nn.LayerNorm(dim, eps=eps, elementwise_affine=affine)"),
        ("nn.LayerNorm(dim, 1e-6, True)", "nn.LayerNorm(dim, eps=1e-6)"),
        ("LayerNorm(dim, 1e-6, False, True)", "nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)"),
        ("LayerNorm(dim, 1e-6, False, False)", "nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False, bias=False)"),
        ("FP32LayerNorm(dim, eps, elementwise_affine=True)", "FP32LayerNorm(dim, eps=eps)"),
        ("RMSNorm(dim, eps, True, False)", "RMSNorm(dim, eps=eps)"),
        ("RMSNorm(dim, eps, True, True)", "RMSNorm(dim, eps=eps, bias=True)"),
        ("[nn.RMSNorm(dim, eps) for _ in affine]", "[nn.RMSNorm(dim, eps=eps) for _ in affine]"),
    ],
)
def test_arguments_are_named(before: str, after: str) -> None:
    assert run(before) == after


@pytest.mark.parametrize(
    "made",
    [
        "nn.LayerNorm(dim)",
        "nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)",
        "nn.LayerNorm(*affine)",
        "OtherNorm(dim, eps)",
        "OwnNorm(dim, eps, True)",
        "nn.GroupNorm(8, dim, 1e-6, True)",
    ],
)
def test_other_calls_stay(made: str) -> None:
    assert run(made) == made


def test_a_class_of_that_name_from_elsewhere_stays() -> None:
    assert run("LayerNorm(dim, 1e-6, False, True)", {"nn": "torch.nn"}) == "LayerNorm(dim, 1e-6, False, True)"


def test_names_and_defaults_are_those_of_torch() -> None:
    layers = {"torch.nn.LayerNorm": nn.LayerNorm, "torch.nn.RMSNorm": nn.RMSNorm}
    for path, layer in layers.items():
        given = {name: value for name, value in PARAMETERS[path] if value is not ...}
        plain, named = layer(4), layer(4, eps=1e-5, **given)  # type: ignore[arg-type, call-arg]
        assert {n: p.shape for n, p in plain.named_parameters()} == {n: p.shape for n, p in named.named_parameters()}


def test_names_and_defaults_are_those_of_diffusers() -> None:
    import inspect

    from diffusers.models import normalization

    for path, spec in PARAMETERS.items():
        if path.startswith("diffusers."):
            parameters = inspect.signature(getattr(normalization, path.rpartition(".")[2])).parameters
            assert list(parameters)[1 : len(spec) + 1] == [name for name, _ in spec]
            assert all(parameters[name].default is value for name, value in spec if value is not ...)
    assert normalization.LayerNorm is nn.LayerNorm
