"""The port that the verify tests run on, and its broken twins.

``OMNIPORT_TEST_PORT`` points the tests at a port that is already on disk; without it FLUX.1-dev is scaffolded as a
plugin.  The hand-written FLUX of the installed vllm_omni serves as a free twin: it replicates half of its blocks, has
no sequence-parallel plan, and loses the reference's default guidance.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from omniport.verify.api import Job, make_job, run_jobs
from omniport.verify.features import FEATURES
from omniport.verify.port import Port, find_port
from omniport.verify.results import FeatureResult

from .twins import features_of

BROKEN = Path(__file__).parent / "broken"
FLUX = Path(__file__).parents[2] / "fixtures" / "hub" / "black-forest-labs" / "FLUX.1-dev"

MODEL_INDEX: dict[str, Any] = {
    "_class_name": "FluxPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
CONFIGS: dict[str, dict[str, Any]] = {
    "transformer": {
        "guidance_embeds": True,
        "in_channels": 64,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
    }
    | {
        "num_attention_heads": 24,
        "attention_head_dim": 128,
        "num_layers": 19,
        "num_single_layers": 38,
        "patch_size": 1,
    },
    "scheduler": {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    | {"shift": 3.0, "use_dynamic_shifting": True},
    "text_encoder": {"hidden_size": 768, "projection_dim": 768, "eos_token_id": 2, "hidden_act": "quick_gelu"},
    "text_encoder_2": {"d_model": 4096, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1},
    "vae": {},
}


def manifest(name: str = "flux", **port: Any) -> dict[str, Any]:
    """A manifest of FLUX; ``port`` replaces entries of its part of that name."""
    flux = "vllm_omni.diffusion.models.flux"
    entries = {
        "architecture": "FluxPipeline",
        "pipeline_module": f"{flux}.pipeline_flux",
        "pipeline_class": "FluxPipeline",
        "transformer_module": f"{flux}.flux_transformer",
        "transformer_class": "FluxTransformer2DModel",
        "post_process": "get_flux_post_process_func",
        "pre_process": None,
        "reference_pipeline": "diffusers.pipelines.flux.pipeline_flux.FluxPipeline",
        "reference_transformer": "diffusers.models.transformers.transformer_flux.FluxTransformer2DModel",
    }
    head = {"schema": 1, "omniport": "0", "name": name, "inputs": {}, "port": {**entries, **port}}
    return {**head, "model_index": MODEL_INDEX, "configs": CONFIGS, "files": [], "plan": {}, "todos": []}


def write_manifest(root: Path, name: str, data: dict[str, Any]) -> Path:
    """Write ``root/.omniport/<name>.json``."""
    path = root / ".omniport" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


@pytest.fixture(scope="session")
def hand_port(tmp_path_factory: pytest.TempPathFactory) -> Port:
    """The hand-written FLUX of the installed vllm_omni."""
    return find_port(write_manifest(tmp_path_factory.mktemp("hand"), "flux", manifest()))


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Port:
    """The port under test, in a folder that twins may be written into."""
    folder = tmp_path_factory.mktemp("port")
    given = os.environ.get("OMNIPORT_TEST_PORT")
    if given:
        source = find_port(Path(given))
        shutil.copytree(source.root, folder / "root")
        return find_port(folder / "root", source.name)
    from omniport.scaffold import scaffold

    options: dict[str, Any] = {"name": None, "revision": None, "source": None, "offline": True, "into": None}
    options |= {"dry_run": False, "diff": False, "force": False}
    scaffold(str(FLUX), plugin=folder / "root", **options)
    return find_port(folder / "root")


@dataclass(frozen=True)
class Run:
    """Results of all ports, verified in one process: by port (``""`` is the one under test) and feature."""

    results: dict[str, dict[str, FeatureResult]]

    def check(self, port: str, feature: str, name: str) -> bool | None:
        """Whether a check passed; None if the run has no such check."""
        found = [c.ok for c in self.results[port][feature].checks if c.name == name]
        return all(found) if found else None


def write_twin(port: Port, twin: str, features: tuple[str, ...] = ()) -> Job:
    """Write a broken twin beside ``port`` and make the job that verifies it, in ``features`` or those of the tests."""
    name = f"twin_{Path(twin).name}"
    base = next(iter(port.paths))
    post = f"from {port.pipeline_module} import {port.post_process} as post_process\n"
    (base / "twin_base.py").write_text(
        f"from {port.pipeline_module} import {port.pipeline_class} as Pipeline\n"
        f"from {port.transformer_module} import {port.transformer_class} as Transformer\n"
        + (post if port.post_process else "post_process = None\n")
    )
    shutil.copy(BROKEN / f"{twin}.py", base / f"{name}.py")
    data = json.loads(port.manifest_path.read_text())
    names = {"pipeline_module": name, "pipeline_class": "Pipeline"}
    names |= {"transformer_module": name, "transformer_class": "Transformer", "post_process": "post_process"}
    data["port"] |= names
    data["name"] = name
    written = write_manifest(port.root, name, data)
    job = make_job(written, features or features_of(twin))
    return replace(job, port=replace(job.port, paths=port.paths))


@pytest.fixture(scope="session")
def run(port: Port) -> Run:
    """The port under test and all of its twins, verified in one process."""
    twins = sorted(p.stem for p in BROKEN.glob("*.py"))
    jobs = [make_job(port.manifest_path, FEATURES), *(write_twin(port, twin) for twin in twins)]
    results, _ = run_jobs(jobs)
    return Run({name: {r.feature: r for r in found} for name, found in zip(["", *twins], results, strict=True)})
