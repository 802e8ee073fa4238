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
    "        self.transformer = DuetModel(",
    "        self.vae = nn.Linear(2, 2)\n        self.transformer = DuetModel(",
)
DEEP = {"video_config": {"width": 64, "heads": 4, "depth": 3}}
PATTERN = "allow_patterns_overrides=[{!r}], fall_back_to_pt=False"
SIZES = {"width": 64, "heads": 4, "depth": 2}
ORIGINAL = {
    "root": str(FIXTURES / "fusion"),
    "original": ["duet/modules/fusion.py", "DuetModel"],
    "arguments": {"video_config": SIZES, "audio_config": SIZES},
    "inputs": [[2, 6, 64], [2, 5, 64], [2]],
}


@dataclass(frozen=True)
class Trap:
    """A number of the loader's findings, what lies in the checkpoint, what is changed in the port, what comes out."""

    outcome: str
    edits: tuple[tuple[str, str], ...] = ()
    files: dict[str, Any] = field(default_factory=lambda: {"model_index.json": INDEX})
    drop: str | None = None  # a tensor that the checkpoint lacks
    add: str | None = None  # one that it has beyond the port's
    depth: int = 2  # blocks of the first denoiser in the checkpoint
    run: bool = False  # whether the outputs are compared with the original's


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
        Trap("loaded", files={"model_index.json": INDEX, "transformer/config.json": DEEP}, depth=3),
        Trap(
            "ValueError.*unexpected.*blocks.2",
            files={"model_index.json": {**INDEX, **DEEP}},  # what the index says is not delivered
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
        Trap(r"ValueError.*missing: \['video.blocks.0.self_attn.q.weight'\]", drop="video.blocks.0.self_attn.q.weight"),
        Trap("wrong: ", (("if missing or unexpected:", "if unexpected:"),), drop="video.blocks.0.self_attn.q.weight"),
    ),
    "a fusion's outputs": (
        Trap("loaded, equal", run=True),
        Trap("loaded, off by", (("return video, self.audio(", "return video, self.video("),), run=True),
    ),
    "a fusion's own layer": (
        Trap(r"ValueError.*missing: \['bridge.bias'\]", drop="bridge.bias"),
        Trap("wrong: transformer.bridge.bias", (("if missing or unexpected:", "if unexpected:"),), drop="bridge.bias"),
    ),
    "a tensor that nothing takes": (
        Trap(r"ValueError.*unexpected: \['stray.weight'\]", add="stray.weight"),
        Trap("loaded", (("if missing or unexpected:", "if missing:"),), add="stray.weight"),
    ),
}


def own_tensors(depth: int) -> dict[str, Any]:
    """The parameters of ``DuetModel``: two stacks, what it adds to the blocks of one, and a layer of its own."""
    names = {f"{stream}.{name}": shape for stream in ("video", "audio") for name, shape in stack().items()}
    for name, shape in list(names.items()):
        if name.startswith("video.blocks.1."):
            names |= {name.replace("blocks.1.", f"blocks.{i}."): shape for i in range(2, depth)}
    added = [f"video.blocks.{i}.self_attn.{n}_fusion" for i in range(depth) for n in "kv"]
    for name in (*added, "bridge"):
        names |= {f"{name}.weight": (64, 64), f"{name}.bias": (64,)}
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
    cases: dict[str, dict[str, Any]] = {}
    pairs = [(f"{name} / {whose}", trap) for name, two in TRAPS.items() for whose, trap in zip("st", two, strict=True)]
    for number, (name, trap) in enumerate(pairs):
        port, checkpoint = models / f"stack_{number}", root / f"checkpoint_{number}"
        shutil.copytree(models / "stack", port)
        for old, new in trap.edits:
            files = (port / "fusion.py", port / "pipeline_stack.py")
            texts = {file: text for file in files if old in (text := file.read_text("utf-8"))}
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
            **(ORIGINAL if trap.run else {}),
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
