"""The reference is loaded by its own loader; only what diffusers does not export is loaded by its own class."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.verify
torch = pytest.importorskip("torch")


class Part(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A model that its pipeline's module defines."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, dtype=dtype))

    @classmethod
    def from_pretrained(cls, folder: Path, *, torch_dtype: Any) -> Part:
        assert folder.name == "part"
        return cls(torch_dtype)


class Toy:
    """A pipeline with a loader that knows what the library exports alone."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    @classmethod
    def from_pretrained(cls, folder: Path, *, torch_dtype: Any) -> Toy:
        return cls(loaded=folder, dtype=torch_dtype)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from diffusers import DDPMScheduler

    monkeypatch.setitem(sys.modules, "toy_pipeline", types.SimpleNamespace(Part=Part))  # type: ignore[arg-type]
    monkeypatch.setattr(Toy, "__module__", "toy_pipeline")
    DDPMScheduler(num_train_timesteps=7).save_pretrained(tmp_path / "scheduler")
    return tmp_path


def index(folder: Path, part: str) -> None:
    entries = {"scheduler": ["diffusers", "DDPMScheduler"], "part": ["diffusers", part], "none": [None, None]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Toy", **entries}))


def test_a_class_that_diffusers_does_not_export_is_loaded_by_itself(checkpoint: Path) -> None:
    from omniport.verify.loading import load_reference

    index(checkpoint, "Part")
    made, said = load_reference(Toy, checkpoint)
    assert said == "diffusers exports no Part: loaded by component"
    assert made.parts["part"].weight.dtype == torch.float32 and not made.parts["part"].training
    assert made.parts["scheduler"].config.num_train_timesteps == 7
    assert made.parts["none"] is None


@pytest.mark.parametrize("name", ["UNet2DModel", "NobodysModel"])
def test_everything_else_is_the_loaders(checkpoint: Path, name: str) -> None:
    from omniport.verify.loading import load_reference

    index(checkpoint, name)
    made, said = load_reference(Toy, checkpoint)
    assert made.parts == {"loaded": checkpoint, "dtype": torch.float32} and said == ""
