"""``eval()`` of a component that was loaded goes, and nothing else."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.modes import without_modes
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def written(body: str) -> str:
    return code(without_modes(function(f"def f(self):\n{body}"), ["text_encoder", "vae"])).split("\n", 1)[1]


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ("    self.text_encoder.eval()\n    return x\n", "    return x\n"),
        ("    # 2. Encode\n    self.vae.eval()\n    return x\n", "    # 2. Encode\n    return x\n"),
        ("    # the encoder\n    self.vae.eval()\n    return x\n", "    # the encoder\n    return x\n"),
        ("    if x:\n        self.vae.eval()\n    return x\n", "    if x:\n        pass\n    return x\n"),
    ],
)
def test_a_loaded_component_evaluates(body: str, after: str) -> None:
    assert written(body) == after


@pytest.mark.parametrize(
    "body",
    [
        "    self.other.eval()\n",
        "    self.vae.train()\n",
        "    x = self.vae.eval()\n",
        "    self.vae.eval(1)\n",
        "    vae.eval()\n",
        "    self.vae.decoder.eval()\n",
        "    return self.vae.eval()(x)\n",
    ],
)
def test_other_lines_stay(body: str) -> None:
    assert written(body) == body
