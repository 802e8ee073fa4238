"""A component's device is the pipeline's: offloaded weights rest elsewhere than where they compute."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.access import rename
from omniport.source.syntax import code
from tests.pipeline.helpers import block

MODELS = ("self.text_encoder", "self.vae")


def renamed(body: str) -> str:
    (method,) = block(f"def encode(self, ids, text_encoder):\n    {body}\n")
    return code(rename(method, ("self.transformer",), (), (), MODELS)).partition("\n")[2].strip()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return ids.to(self.text_encoder.device)", "return ids.to(self.device)"),
        ("device = device or self.vae.device", "device = device or self.device"),
        ("return ids.to(self.transformer.device)", "return ids.to(self.device)"),
    ],
)
def test_device_of_a_component_is_the_pipelines(body: str, expected: str) -> None:
    assert renamed(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "return ids.to(self.text_encoder.dtype)",
        "return ids.to(text_encoder.device)",
        "return ids.to(self.scheduler.device)",
        "return ids.to(self.text_encoder.config.device)",
        "return ids.to(self.text_encoder.inner.device)",
        "return self.text_encoder(ids).device",
    ],
)
def test_other_reads_stay(body: str) -> None:
    assert renamed(body) == body
