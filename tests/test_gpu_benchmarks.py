"""What the GPU benchmark of the corpus would time: published widths with few blocks, and inputs in the right precision.

In a process of its own, for it imports torch and diffusers; the kernels need a GPU and are not run here.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Finds the models of a tree and draws the inputs of each, with a short text for speed.
PROGRAM = """
import json, sys, types
from pathlib import Path
sys.modules["vllm_omni"] = types.SimpleNamespace(__file__=sys.argv[2])  # its folder is all that is asked for
sys.path[:0] = [sys.argv[3]]
import torch
import corpus
found = {}
for model in corpus.models(Path(sys.argv[1])):
    inputs = model.inputs(model.config, False, torch.Generator())
    found[model.cls] = {
        "hand": model.hand,
        "generated": model.generated,
        "what": model.what,
        "config": {k: v for k, v in model.config.items() if isinstance(v, int)},
        "inputs": {k: [str(v.dtype), *v.shape] for k, v in inputs.items() if torch.is_tensor(v)},
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    package = importlib.util.find_spec("vllm_omni")
    if package is None or importlib.util.find_spec("diffusers") is None:
        pytest.skip("the verify environment is not installed")
    tree = tmp_path_factory.mktemp("tree")
    for name, cls in (("flux", "FluxTransformer2DModel"), ("sana", "SanaTransformer2DModel"), ("other", "NoModel")):
        folder = tree / "vllm_omni" / "diffusion" / "models" / f"corpus_{name}"
        folder.mkdir(parents=True)
        (folder / f"{name}_transformer.py").write_text(f"class {cls}(nn.Module):\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tree), str(package.origin), str(ROOT / "benchmarks" / "gpu")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    models: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return models


def test_every_port_of_a_reference_class_is_found(found: dict[str, dict[str, object]]) -> None:
    assert set(found) == {"FluxTransformer2DModel", "SanaTransformer2DModel"}
    assert found["FluxTransformer2DModel"]["generated"] == "vllm_omni.diffusion.models.corpus_flux.flux_transformer"
    assert str(found["FluxTransformer2DModel"]["hand"]).startswith("vllm_omni.diffusion.models.flux")
    assert not found["SanaTransformer2DModel"]["hand"]


def test_widths_are_published_and_blocks_few(found: dict[str, dict[str, object]]) -> None:
    flux = found["FluxTransformer2DModel"]
    assert flux["what"] == "black-forest-labs/FLUX.1-dev"
    config = flux["config"]
    assert isinstance(config, dict)
    assert (config["num_attention_heads"], config["attention_head_dim"]) == (24, 128)
    assert config["num_layers"] in (2, 3) and config["num_single_layers"] in (2, 3)
    assert config["guidance_embeds"] is True


def test_inputs_are_half_but_for_positions(found: dict[str, dict[str, object]]) -> None:
    inputs = found["FluxTransformer2DModel"]["inputs"]
    assert isinstance(inputs, dict)
    assert inputs["hidden_states"] == ["torch.bfloat16", 1, 48 * 64, 64]
    assert inputs["encoder_hidden_states"] == ["torch.bfloat16", 1, 256, 4096]
    assert inputs["img_ids"][0] == "torch.float32"
