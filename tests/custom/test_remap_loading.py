"""Ports of repositories whose checkpoint has other names, loaded by vLLM-Omni's own loader; broken tables fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omniport.custom.into import scaffold_custom
from tests.support.ports import installed_package

pytestmark = pytest.mark.verify

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "custom"
#: port -> what is replaced in its table of names
TWINS = {
    "swapped": ("'blocks.*.self_attn.q', 'blocks.*.self_attn.k'", "'blocks.*.self_attn.k', 'blocks.*.self_attn.q'"),
    "short": ("(64, 64, 64)", "(64, 64, 63)"),
    "gone": ("    ('layers', 'blocks'),\n", ""),
    "unstripped": ("PREFIX = 'module.'", "PREFIX = 'nodule.'"),
}


def tensors(names: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in names.items()}


def stack() -> dict[str, tuple[int, ...]]:
    """The parameters of ``StackModel`` with its defaults."""
    linears = {"patch_embedding": (64, 64), "time_embedding": (64, 1), "head": (64, 64)}
    for i in range(2):
        linears |= {f"blocks.{i}.self_attn.{n}": (64, 64) for n in "qkvo"}
        linears |= {f"blocks.{i}.ffn.0": (256, 64), f"blocks.{i}.ffn.2": (64, 256)}
    return {k: v for n, s in linears.items() for k, v in ((f"{n}.weight", s), (f"{n}.bias", s[:1]))}


def packed() -> dict[str, tuple[int, ...]]:
    """The parameters of ``PackedModel`` with its defaults."""
    found: dict[str, tuple[int, ...]] = {"patch_embed.weight": (32, 32, 1, 1), "patch_embed.bias": (32,)}
    found |= {"time_embed.weight": (32, 1), "time_embed.bias": (32,)}
    for i in range(3):
        for name, shape in {"norm": (32,), "attn.qkv": (96, 32), "attn.proj": (32, 32)}.items():
            found |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
    return found | {"proj_in.weight": (32, 32), "proj_out.weight": (32, 32)}


def published_stack(own: dict[str, Any]) -> dict[str, Any]:
    """Projections fused, blocks called layers, a prefix on all, and an autoencoder in the same file."""
    import torch

    found = {"vae.decoder.weight": torch.zeros(2, 2)}
    for name, tensor in own.items():
        parts = name.replace("blocks.", "layers.").split(".")
        if ".self_attn.q." in name:
            rest = [own[name.replace(".q.", f".{other}.")] for other in "kv"]
            found["module." + ".".join([*parts[:3], "qkv", parts[-1]])] = torch.cat([tensor, *rest])
        elif not any(f".self_attn.{other}." in name for other in "kv"):
            found["module." + ".".join(parts)] = tensor
    return found


def published_packed(own: dict[str, Any]) -> dict[str, Any]:
    """Projections apart, the convolution of one pixel as a matrix, the tied output left out."""
    found = {}
    for name, tensor in own.items():
        if ".qkv." in name:
            parts = dict(zip("qkv", tensor.chunk(3), strict=True))
            found |= {name.replace(".qkv.", f".to_{part}."): value.clone() for part, value in parts.items()}
        elif name != "proj_out.weight":
            found[name] = tensor.flatten(1) if name == "patch_embed.weight" else tensor
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("vllm_omni")
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("remap")
    tree = root / "tree"
    shutil.copytree(installed_package(), tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__"))
    cases: dict[str, dict[str, str]] = {}

    def add(
        name: str, repository: str, own: dict[str, Any], published: dict[str, Any], vae: dict[str, Any] | None = None
    ) -> None:
        checkpoint = root / f"checkpoint_{name}"
        checkpoint.mkdir()
        save_file({k: v.contiguous() for k, v in published.items()}, checkpoint / "model.safetensors")
        expected = {f"transformer.{k}": v.contiguous() for k, v in own.items()}
        if vae is not None:
            save_file(vae, checkpoint / "codec.safetensors")
            expected |= {f"vae.{k}": v for k, v in vae.items()}
        save_file(expected, root / f"{name}.safetensors")
        result = scaffold_custom(str(checkpoint), FIXTURES / repository, into=tree, name=name)
        (checkpoint / "model_index.json").write_text('{"_class_name": "FluxPipeline"}', "utf-8")
        assert "REMAP" not in [todo.subject for todo in result.plan.todos]
        cases[name] = {
            "module": f"vllm_omni.diffusion.models.{name}.pipeline_{name}",
            "class": result.plan.pipeline.class_name,
            "checkpoint": str(checkpoint),
            "expected": str(root / f"{name}.safetensors"),
        }

    own = tensors(stack())
    for name in ("sound", *TWINS):
        add(name, "fusion", own, published_stack(own))
    for name, (old, new) in TWINS.items():
        file = tree / "vllm_omni" / "diffusion" / "models" / name / "weight_names.py"
        text = file.read_text("utf-8").replace('"', "'")
        assert text.count(old) == 1, (name, text)
        file.write_text(text.replace(old, new), "utf-8")
    own = tensors(packed())
    own["proj_out.weight"] = own["proj_in.weight"].clone()
    codec = {"encoder.conv": (4, 3, 8, 8), "decoder": (4, 3, 8, 8)}
    vae = tensors({f"{n}.weight": s for n, s in codec.items()} | {"encoder.conv.bias": (4,), "decoder.bias": (3,)})
    add("packed", "packed", own, published_packed(own), vae)
    for name, own_names in (("cracked", ("decoder.bias",)), ("surplus", ())):
        broken = {k: v for k, v in vae.items() if k not in own_names}
        add(
            name,
            "packed",
            own,
            published_packed(own),
            broken | ({"x": vae["decoder.bias"].clone()} if not own_names else {}),
        )
    job, result = root / "job.json", root / "result.json"
    job.write_text(json.dumps({"tree": str(tree), "cases": cases}), "utf-8")
    command = [sys.executable, "-W", "ignore", "-m", "tests.custom.load_runner", str(job), str(result)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(result.read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", ["sound", "packed"])
def test_every_parameter_has_its_values(name: str, results: dict[str, str]) -> None:
    assert results[name] == "loaded"


@pytest.mark.parametrize("name", ["cracked", "surplus"])
def test_an_autoencoder_whose_weights_are_not_all_there_is_not_built(name: str, results: dict[str, str]) -> None:
    assert results[name].startswith("wrong: vae.")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("swapped", "wrong: transformer.blocks.0.self_attn.k.bias, "),
        ("short", "split"),
        ("gone", "checkpoint tensors missing: ['blocks.0.ffn.0.bias'"),
        ("unstripped", "checkpoint tensors missing:"),
    ],
)
def test_a_broken_table_is_caught(name: str, outcome: str, results: dict[str, str]) -> None:
    assert results[name] != "loaded"
    assert outcome in results[name]
