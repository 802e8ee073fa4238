"""The pipeline that Path B writes, through every loader trap with vLLM-Omni's own loader; each trap has its twin.

A twin is the same port with the one line changed that keeps it out of the trap, or the same port on a checkpoint that
lies in the trap's way.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from omniport.custom.into import scaffold_custom
from tests.custom.test_remap_loading import stack, tensors
from tests.support.ports import installed_package

pytestmark = pytest.mark.verify

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "custom"
INDEX = {"_class_name": "StackPipeline", "_diffusers_version": "0.40.0"}
LOAD = "return AutoWeightsLoader(self).load_weights(weights)"
PREFIXED = 'return AutoWeightsLoader(self).load_weights((f"transformer.{name}", weight) for name, weight in weights)'
AUTOENCODER = (
    "        self.transformer = StackModel(",
    "        self.vae = nn.Linear(2, 2)\n        self.transformer = StackModel(",
)
PATTERN = "allow_patterns_overrides=[{!r}], fall_back_to_pt=False"


@dataclass(frozen=True)
class Trap:
    """A number of the loader's findings, what lies in the checkpoint, what is changed in the port, what comes out."""

    outcome: str
    edits: tuple[tuple[str, str], ...] = ()
    files: dict[str, Any] = field(default_factory=lambda: {"model_index.json": INDEX})
    drop: str | None = None  # a tensor that the checkpoint lacks
    add: str | None = None  # one that it has beyond the port's
    depth: int = 2  # blocks in the checkpoint


#: name -> the port as it is written, and its twin
TRAPS: dict[str, tuple[Trap, Trap]] = {
    "bypass returns set()": (
        Trap("loaded"),
        Trap(
            "ValueError.*not initialized",
            (
                ("        self.weights_sources = [", "        self.weights_sources = []\n        self.unused = ["),
                (LOAD, "return set()"),
            ),
        ),
    ),
    "pickle beside safetensors": (
        Trap("loaded", files={"model_index.json": INDEX, "model.pth": None}),
        Trap(
            "(?i)header|safetensors",
            (("fall_back_to_pt=False", PATTERN.format("model.pth")),),
            {"model_index.json": INDEX, "model.pth": None},
        ),
    ),
    "root source with an autoencoder that loads itself": (
        Trap("loaded", (AUTOENCODER,)),
        Trap("ValueError.*not initialized", (AUTOENCODER, ('prefix="transformer."', 'prefix=""'), (LOAD, PREFIXED))),
    ),
    "two root files with the same names": (
        Trap(
            "loaded",
            (("fall_back_to_pt=False", PATTERN.format("model.safetensors")),),
            {"model_index.json": INDEX, "zzz.safetensors": "same names"},
        ),
        Trap("unexpected|wrong|missing", files={"model_index.json": INDEX, "zzz.safetensors": "same names"}),
    ),
    "settings in the index": (
        Trap("loaded", files={"model_index.json": INDEX, "transformer/config.json": {"depth": 3}}, depth=3),
        Trap(
            "ValueError.*unexpected.*blocks.2",
            files={"model_index.json": {**INDEX, "depth": 3}},  # what the index says is not delivered
            depth=3,
        ),
    ),
    "class name as a list": (
        Trap("loaded"),
        Trap(
            "TypeError.*unhashable", files={"model_index.json": {**INDEX, "_class_name": ["pipeline", "StackPipeline"]}}
        ),
    ),
    "discovery by architectures": (
        Trap("loaded", files={"config.json": {"architectures": ["StackPipeline"]}}),
        Trap("Error", files={"config.json": {"architectures": ["StackPipeline", "Other"]}}),
    ),
    "a hole in the checkpoint": (
        Trap(r"ValueError.*missing: \['blocks.0.self_attn.q.weight'\]", drop="blocks.0.self_attn.q.weight"),
        Trap("wrong: ", (("if missing or unexpected:", "if unexpected:"),), drop="blocks.0.self_attn.q.weight"),
    ),
    "a tensor that nothing takes": (
        Trap(r"ValueError.*unexpected: \['stray.weight'\]", add="stray.weight"),
        Trap("loaded", (("if missing or unexpected:", "if missing:"),), add="stray.weight"),
    ),
}


def own_tensors(depth: int) -> dict[str, Any]:
    names = stack()
    for name, shape in list(names.items()):
        if name.startswith("blocks.1."):
            names |= {name.replace("blocks.1.", f"blocks.{i}."): shape for i in range(2, depth)}
    return tensors(names)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("vllm_omni")
    import torch
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("generated")
    tree = root / "tree"
    shutil.copytree(installed_package(), tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="stack")
    models = tree / "vllm_omni" / "diffusion" / "models"
    cases: dict[str, dict[str, str]] = {}
    pairs = [(f"{name} / {whose}", trap) for name, two in TRAPS.items() for whose, trap in zip("st", two, strict=True)]
    for number, (name, trap) in enumerate(pairs):
        port, checkpoint = models / f"stack_{number}", root / f"checkpoint_{number}"
        shutil.copytree(models / "stack", port)
        for old, new in trap.edits:
            texts = {file: file.read_text("utf-8") for file in port.glob("*.py") if old in file.read_text("utf-8")}
            assert len(texts) == 1, f"{name}: {old}"
            for file, text in texts.items():
                file.write_text(text.replace(old, new), "utf-8")
        own = own_tensors(trap.depth)
        published = {k: v for k, v in own.items() if k != trap.drop}
        published |= {trap.add: torch.zeros(2, 2)} if trap.add else {}
        checkpoint.mkdir()
        save_file(published, checkpoint / "model.safetensors")
        for path, content in trap.files.items():
            target = checkpoint / path
            target.parent.mkdir(exist_ok=True)
            if path.endswith(".json"):
                target.write_text(json.dumps(content), "utf-8")
            elif path.endswith(".pth"):
                torch.save(published, target)
            else:
                save_file({k: torch.zeros_like(v) for k, v in published.items()}, target)
        save_file({f"transformer.{k}": v for k, v in own.items()}, root / f"{number}.safetensors")
        cases[name] = {
            "module": f"vllm_omni.diffusion.models.{port.name}.pipeline_stack",
            "class": "StackPipeline",
            "checkpoint": str(checkpoint),
            "expected": str(root / f"{number}.safetensors"),
        }
    (root / "job.json").write_text(json.dumps({"tree": str(tree), "cases": cases}), "utf-8")
    command = [sys.executable, "-W", "ignore", "-m", "tests.custom.load_runner"]
    done = subprocess.run(
        [*command, str(root / "job.json"), str(root / "result.json")],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads((root / "result.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", TRAPS)
def test_the_generated_pipeline_keeps_out_of_the_trap(name: str, results: dict[str, str]) -> None:
    assert re.search(TRAPS[name][0].outcome, results[f"{name} / s"], re.S), results[f"{name} / s"]


@pytest.mark.parametrize("name", TRAPS)
def test_its_twin_falls_into_it(name: str, results: dict[str, str]) -> None:
    assert re.search(TRAPS[name][1].outcome, results[f"{name} / t"], re.S), results[f"{name} / t"]
