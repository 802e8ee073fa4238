"""The tensors of a port beside the original's: equal, and a port with another name is caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omniport.corpus.custom import Sample, compare
from omniport.custom.into import scaffold_custom
from tests.support.ports import installed_package

pytestmark = pytest.mark.verify

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


def test_names_and_shapes_are_compared(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(installed_package(), root / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    scaffold_custom("org/toy", FIXTURES / "fusion", into=root, name="toy")
    sample = Sample("fusion", "fusion", None, {}, "dict(width=32, heads=4)")
    assert compare(sample, FIXTURES / "fusion", tmp_path, root, "toy") == ("", 30)
    file = root / "vllm_omni" / "diffusion" / "models" / "toy" / "toy_transformer.py"
    file.write_text(file.read_text("utf-8").replace("self.head =", "self.tail =").replace("self.head(", "self.tail("))
    reason, _ = compare(sample, FIXTURES / "fusion", tmp_path, root, "toy")
    assert "missing head.weight" in reason and "surplus tail.weight" in reason
