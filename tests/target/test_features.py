"""Flags are found where the tree has the thing, and not found once it is taken away."""

import dataclasses
from pathlib import Path

import pytest

from omniport.target import features
from omniport.target.features import DEFAULT, TargetFeatures, probe
from tests.support.ports import copy_tree, installed_package

CFG = "diffusion/distributed/cfg_parallel.py"


def features_of(root: Path, files: dict[str, str]) -> TargetFeatures:
    """The features of a package that consists of these files."""
    (root / "vllm_omni").mkdir(exist_ok=True)
    for name, text in files.items():
        path = root / "vllm_omni" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return probe(root / "vllm_omni")[0]


def test_every_flag_has_evidence_and_a_type():
    found, evidence = probe(installed_package())
    names = [f.name for f in dataclasses.fields(TargetFeatures)]
    assert [d.subject for d in evidence] == names
    for decision in evidence:
        assert decision.why.reason
        value = getattr(found, decision.subject)
        assert decision.value == (", ".join(value) if isinstance(value, tuple) else value)


def test_the_assumed_features_are_those_of_the_release_they_stand_for():
    package = installed_package()
    if "0.30." not in (package / "_version.py").read_text("utf-8"):
        pytest.skip("the installed vLLM-Omni is not 0.30")
    found, _ = probe(package)
    assert dataclasses.replace(found, distributed_vaes=()) == DEFAULT
    assert "DistributedAutoencoderKL" in found.distributed_vaes


def test_an_empty_package_has_nothing(tmp_path: Path):
    found = features_of(tmp_path, {})
    flags = {k: v for k, v in dataclasses.asdict(found).items() if not k.startswith("spdx")}
    assert not any(flags.values()), flags
    assert found.spdx_license.startswith("# SPDX-License-Identifier: ")


# file below the package, text in it, text instead, flag, value that must follow
TWINS = [
    ("inputs/data.py", "guidance_scale: float | None = None", "guidance_scale: float = 0.0", "guidance_none", False),
    ("inputs/data.py", "num_inference_steps: int | None", "num_inference_steps: int", "steps_none", False),
    ("diffusion/request.py", "\n    prompt: ", "\n    prompts: ", "request_prompt_singular", False),
    ("diffusion/worker/request_batch.py", "class DiffusionRequestBatch", "class Batch", "request_batch", False),
    ("diffusion/models/progress_bar.py", "class ProgressBarMixin", "class Other", "progress_bar", False),
    (
        "diffusion/models/interface.py",
        "class SupportsComponentDiscovery",
        "class SupportsModuleOffload",
        "component_protocol",
        "SupportsModuleOffload",
    ),
    (CFG, "generator", "generated", "cfg_generator", False),
    (CFG, "positive_noise_pred", "noise_pred", "cfg_all_ranks", False),
    (CFG, "def check_cfg_parallel_validity", "def check", "cfg_validity", False),
    ("diffusion/attention/layer.py", "        role: str", "        part: str", "attn_role", False),
    ("diffusion/attention/layer.py", "skip_sequence_parallel", "skip_sp", "attn_skip_sp", False),
    ("diffusion/distributed/sp_plan.py", "shard_group", "group", "sp_shard_group", False),
    ("diffusion/offloader/block_discovery.py", "_layerwise_offload_blocks_attrs", "_nothing", "offload_attr", ""),
    ("diffusion/registry.py", "def register_diffusion_model", "def register", "plugin_register", False),
    ("diffusion/registry.py", "_NO_CACHE_ACCELERATION", "_NO_CACHE", "has_no_cache_set", False),
    ("diffusion/model_metadata.py", "final_output_type", "output", "final_output_type", False),
    ("diffusion/model_loader/hub_prefetch.py", "def from_pretrained_with_prefetch", "def f", "prefetch_wrapper", False),
]


@pytest.mark.parametrize(("file", "text", "instead", "flag", "value"), TWINS, ids=[t[3] for t in TWINS])
def test_a_flag_follows_the_text(tmp_path: Path, file: str, text: str, instead: str, flag: str, value: object):
    package = copy_tree(tmp_path) / "vllm_omni"
    before, _ = probe(package)
    path = package / file
    content = path.read_text("utf-8")
    assert text in content
    path.write_text(content.replace(text, instead), "utf-8")
    after, _ = probe(package)
    assert getattr(before, flag) != value
    assert getattr(after, flag) == value


def test_the_old_cache_backend_is_told_from_the_new(tmp_path: Path):
    backend, old = "diffusion/cache/cache_dit_backend.py", "CUSTOM_DIT_ENABLERS = {}\n"
    found = features_of(tmp_path, {backend: old})
    assert (found.cachedit_api, found.cachedit_module) == ("enabler", "")
    found = features_of(tmp_path, {backend: f"class CacheDiTAdapterConfig:\n    pass\n{old}"})
    assert found.cachedit_api == "file"
    assert found.cachedit_module == "vllm_omni.diffusion.cache.cache_dit_backend"


def test_the_offload_attribute_was_a_string_once(tmp_path: Path):
    text = 'name = getattr(model, "_layerwise_offload_blocks_attr", None)\n'
    assert features_of(tmp_path, {"diffusion/offloader/layerwise_backend.py": text}).offload_attr == "string"


@pytest.mark.parametrize(("old", "new", "expected"), [(10, 0, "vLLM"), (10, 1, "vLLM-Omni"), (100, 1, "vLLM")])
def test_a_new_file_takes_the_line_of_new_files(tmp_path: Path, old: int, new: int, expected: str):
    found = features_of(
        tmp_path,
        {
            f"diffusion/f{index}.py": "# SPDX-License-Identifier: Apache-2.0\n# SPDX-FileCopyrightText: Copyright "
            f"contributors to the {'vLLM' if index < old else 'vLLM-Omni'} project\n"
            for index in range(old + new)
        },
    )
    assert found.spdx_text == f"# SPDX-FileCopyrightText: Copyright contributors to the {expected} project"


def test_unparsable_files_do_not_stop_the_probe(tmp_path: Path):
    features_of(tmp_path, {CFG: ""})
    (tmp_path / "vllm_omni" / CFG).write_bytes(b"class CFGParallelMixin:\n    def \xff(:\n")
    found, _ = probe(tmp_path / "vllm_omni")
    assert found.cfg_mixin and not found.cfg_kwargs


def test_every_probe_is_a_field():
    assert set(features._PROBES) <= {f.name for f in dataclasses.fields(TargetFeatures)}
