"""The tensors of a port beside the original's: equal, and a port with another name is caught."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from omniport.corpus import custom
from omniport.corpus.custom import TOLERANCE, Sample, compare, difference
from omniport.corpus.custom_meta import _flat
from omniport.custom.into import scaffold_custom
from tests.support.ports import installed_package

pytestmark = pytest.mark.verify

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


@pytest.fixture
def original_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The original is built for the first comparison; the others are with what it left then."""
    kept, side, answers = tmp_path / "original", custom._side, dict[str, dict[str, Any]]()

    def kept_side(which: str, given: dict[str, Any], folder: Path) -> dict[str, Any]:
        if which != "original":
            return side(which, given, folder)
        if which not in answers:
            answers[which] = side(which, given, folder)
            shutil.copytree(folder, kept)
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        return answers[which]

    monkeypatch.setattr(custom, "_side", kept_side)


@pytest.mark.usefixtures("original_once")
def test_names_and_shapes_are_compared(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(installed_package(), root / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    scaffold_custom("org/toy", FIXTURES / "fusion", into=root, name="toy")
    inputs = "dict(x=randn(2, 5, 32), t=randn(2))"
    sample = Sample("fusion", "fusion", None, {}, "dict(width=32, heads=4)", inputs=inputs)
    sound = compare(sample, FIXTURES / "fusion", tmp_path, root, "toy")
    assert (sound.difference, sound.tensors, sound.failed) == ("", 30, "")
    assert sound.error is not None and sound.error <= TOLERANCE
    file = root / "vllm_omni" / "diffusion" / "models" / "toy" / "toy_transformer.py"
    text = file.read_text("utf-8")
    assert text.count("self.head_dim**-0.5") == 1
    file.write_text(text.replace("self.head_dim**-0.5", "1.0"), "utf-8")
    other = compare(sample, FIXTURES / "fusion", tmp_path, root, "toy")
    assert other.error is not None and other.error > TOLERANCE
    file.write_text(text.replace("self.head =", "self.tail =").replace("self.head(", "self.tail("))
    renamed = compare(sample, FIXTURES / "fusion", tmp_path, root, "toy")
    assert "missing head.weight" in renamed.difference and "surplus tail.weight" in renamed.difference
    assert renamed.error is None


def test_differences_are_named() -> None:
    theirs = {f"b.{i}": [2] for i in range(6)} | {"a": [2, 3]}
    assert difference(theirs, dict(theirs)) == ""
    assert difference(theirs, theirs | {"a": [3, 2]}) == "shape of a: [3, 2], not [2, 3]"
    said = difference(theirs, {"c": [1]})
    assert said == "missing a; missing b.0; missing b.1; missing b.2; missing b.3; and 3 more"


def test_an_output_of_another_kind_is_not_compared() -> None:
    import torch

    assert [t.tolist() for t in _flat((torch.ones(1), None, [0.5]))] == [[1.0], 0.5]
    with pytest.raises(TypeError, match="an output of type dict"):
        _flat((torch.ones(1), {}))
