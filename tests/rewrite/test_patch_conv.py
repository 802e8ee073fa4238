"""Convolutions of patches become vLLM's layer; any other stays."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.patch_conv import patch_convolutions

IMPORTED = {"nn": "torch.nn"}


def run(call: str, imported: dict[str, str] = IMPORTED) -> str:
    return patch_convolutions(cst.parse_module(f"self.embed = {call}\n"), imported).code.strip()


def test_a_patch_convolution() -> None:
    call = "nn.Conv3d(a, b, kernel_size=patch, stride=patch)"
    assert run(call) == f"self.embed = {call.replace('nn.Conv3d', 'Conv3dLayer')}"
    assert run("Conv3d(a, b, kernel_size=(1, 2), stride=(1, 2), bias=True)", {"Conv3d": "torch.nn.Conv3d"}).count(
        "Layer"
    )


@pytest.mark.parametrize(
    "call",
    [
        "nn.Conv3d(a, b, kernel_size=patch, stride=1)",
        "nn.Conv3d(a, b, kernel_size=patch)",
        "nn.Conv3d(a, b, patch, stride=patch)",
        "nn.Conv3d(a, b, kernel_size=patch, stride=patch, padding=1)",
        "nn.Conv3d(a, b, kernel_size=patch, stride=patch, groups=2)",
        "nn.Conv3d(a, b, kernel_size=patch, stride=patch, dilation=2)",
        "nn.Conv3d(*sizes, kernel_size=patch, stride=patch)",
        "nn.Conv3d(a, b, kernel_size=patch, stride=patch, **more)",
        "nn.Conv2d(a, b, kernel_size=patch, stride=patch)",
        "other.Conv3d(a, b, kernel_size=patch, stride=patch)",
    ],
)
def test_another_convolution_stays(call: str) -> None:
    assert run(call) == f"self.embed = {call}"
