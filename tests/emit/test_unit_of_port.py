"""The unit test that comes with a port: it passes as written, and fails for each port that is damaged.

All of it runs in one process that imports vLLM-Omni once and forks for each port.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omniport.cli import app
from tests.support.ports import installed_package

RUN = """
import importlib, json, os, sys
from pathlib import Path

import pytest
from vllm_omni.diffusion import registry

root, test, cases = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
package = f"vllm_omni.diffusion.models.{os.path.basename(test)}"
importlib.import_module(package)  # with all that it imports, once
for name in [name for name in sys.modules if name.startswith(package)]:
    del sys.modules[name]


class Failures:
    def __init__(self):
        self.names = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.names.append(report.nodeid.rpartition("::")[2].partition("[")[0])


for name, (file, old, new) in cases.items():
    path = root / file
    whole = path.read_text()
    assert not old or old in whole, (name, old)
    path.write_text(whole.replace(old, new) if old else whole)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        failures = Failures()
        importlib.reload(registry)
        options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(root)]
        code = pytest.main([*options, test], [failures])
        os.write(writing, json.dumps([int(code), sorted(set(failures.names))]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        print("RESULT", json.dumps([name, *json.loads(answer.read())]), flush=True)
    os.waitpid(child, 0)
    path.write_text(whole)
"""
FOLDER = "vllm_omni/diffusion/models/flux_dev"
TRANSFORMER, PIPELINE = f"{FOLDER}/flux_dev_transformer.py", f"{FOLDER}/pipeline_flux_dev.py"
REGISTRY = "vllm_omni/diffusion/registry.py"
#: what is damaged -> file, text, text in its place, the test that must fail
TWINS = {
    "a shard of a fused layer forgotten": (
        TRANSFORMER,
        '(".to_qkv", ".to_k", "k"),',
        "",
        "test_the_tensors_of_diffusers_fill_the_transformer",
    ),
    "two shards swapped": (
        TRANSFORMER,
        '(".to_qkv", ".to_q", "q"),\n        (".to_qkv", ".to_k", "k"),',
        '(".to_qkv", ".to_q", "k"),\n        (".to_qkv", ".to_k", "q"),',
        "test_fused_layers_take_their_parts_in_order",
    ),
    "a layer renamed": (
        TRANSFORMER,
        "self.x_embedder",
        "self.embedder",
        "test_the_tensors_of_diffusers_fill_the_transformer",
    ),
    "a layer too narrow": (
        TRANSFORMER,
        "self.context_embedder = nn.Linear(joint_attention_dim,",
        "self.context_embedder = nn.Linear(joint_attention_dim - 1,",
        "test_the_tensors_of_diffusers_fill_the_transformer",
    ),
    "a loader that says nothing of missing tensors": (
        TRANSFORMER,
        "if expected or unexpected",
        "if unexpected",
        "test_a_missing_tensor_is_named",
    ),
    "a loader that says nothing of unexpected tensors": (
        TRANSFORMER,
        "if expected or unexpected",
        "if expected",
        "test_an_unexpected_tensor_is_named",
    ),
    "a class of blocks misnamed": (
        TRANSFORMER,
        '_repeated_blocks = ["FluxTransformerBlock", "FluxSingleTransformerBlock"]',
        '_repeated_blocks = ["FluxTransformerBlock"]',
        "test_the_framework_finds_the_blocks",
    ),
    "a list for offload misnamed": (
        TRANSFORMER,
        '_layerwise_offload_blocks_attrs = ["transformer_blocks", ',
        '_layerwise_offload_blocks_attrs = ["blocks", ',
        "test_the_framework_finds_the_blocks",
    ),
    "blocks that HSDP leaves out": (
        TRANSFORMER,
        'return parent in ["transformer_blocks", "single_transformer_blocks"] and',
        'return parent in ["transformer_blocks"] and',
        "test_the_framework_finds_the_blocks",
    ),
    "a hook on no module": (
        TRANSFORMER,
        '"sequence_split": {',
        '"sequence": {',
        "test_sequence_parallelism_hooks_modules_of_the_transformer",
    ),
    "a parameter of the constructor renamed": (
        TRANSFORMER,
        "pooled_projection_dim",
        "pooled_dim",
        "test_constructor_takes_every_parameter_of_the_config",
    ),
    "a component that is not there": (
        PIPELINE,
        '_dit_modules: ClassVar[list[str]] = ["transformer"]',
        '_dit_modules: ClassVar[list[str]] = ["transformers"]',
        "test_declared_components_are_attributes_of_the_pipeline",
    ),
    "a registry row of another class": (
        REGISTRY,
        '"flux_dev",\n        "pipeline_flux_dev",',
        '"flux",\n        "pipeline_flux",',
        "test_registry_serves_the_pipeline",
    ),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unit") / "tree"
    shutil.copytree(installed_package(), root / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests/diffusion/models").mkdir(parents=True)
    for options in (["diffusers:FluxPipeline", "--name", "flux_dev", "--force"], ["diffusers:HiDreamImagePipeline"]):
        done = CliRunner().invoke(app, ["scaffold", *options, "--into", str(root), "--force"])
        assert done.exit_code == 0, done.output
    return root


def results(root: Path, test: str, cases: dict[str, tuple[str, str, str]]) -> dict[str, tuple[int, list[str]]]:
    """Exit code and failed tests of each case."""
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(root), str(root / test), json.dumps(cases)],
        cwd=root, env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return {name: (code, failed) for name, code, failed in lines}


def test_the_test_passes_as_written_and_fails_for_every_damaged_port(tree: Path) -> None:
    cases = {"as written": (TRANSFORMER, "", ""), **{name: twin[:3] for name, twin in TWINS.items()}}
    found = results(tree, "tests/diffusion/models/flux_dev", cases)
    assert found.pop("as written") == (0, [])
    assert {name: TWINS[name][3] for name, (_, failed) in found.items() if TWINS[name][3] not in failed} == {}
    assert list(found) == list(TWINS)


def test_a_class_whose_defaults_build_no_model_has_the_loader_tested_on_a_small_one(tree: Path) -> None:
    file = "vllm_omni/diffusion/models/hi_dream_image/hi_dream_image_transformer.py"
    cases = {"as written": (file, "", ""), "silent": (file, "if missing or unexpected", "if unexpected")}
    found = results(tree, "tests/diffusion/models/hi_dream_image", cases)
    assert found == {"as written": (0, []), "silent": (1, ["test_a_missing_tensor_is_named"])}
