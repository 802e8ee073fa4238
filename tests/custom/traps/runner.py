"""Run every case with vLLM-Omni's own configuration, registry and loader, on the CPU; print what came out as JSON.

Started in a process of its own, since it imports vLLM-Omni: ``python -m tests.custom.traps.runner FOLDER``.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.custom.traps.cases import CASES, Case


def write(folder: Path, files: dict[str, Any]) -> None:
    """The checkpoint of a case; every tensor is 2 x 2 and full of one number."""
    import torch
    from safetensors.torch import save_file

    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, "utf-8")
        elif path.suffix == ".json":
            path.write_text(json.dumps(content), "utf-8")
        else:
            tensors = {key: torch.full((2, 2), value) for key, value in content.items()}
            save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)


def run(case: Case, folder: Path, module: str) -> dict[str, Any]:
    """What vLLM-Omni does with a case, and the facts that the case asks for."""
    from vllm.config.load import LoadConfig
    from vllm_omni.diffusion import io_support
    from vllm_omni.diffusion.data import OmniDiffusionConfig
    from vllm_omni.diffusion.model_loader.diffusers_loader import DiffusersPipelineLoader
    from vllm_omni.diffusion.registry import DiffusionModelRegistry, register_diffusion_model
    from vllm_omni.diffusion.utils.hf_utils import is_diffusion_model

    architecture = "ExamplePipeline" if case.step != "registry" else f"{module.title().replace('_', '')}Pipeline"
    register_diffusion_model(architecture, module, "ExamplePipeline")
    config = OmniDiffusionConfig.from_kwargs(model=str(folder), dtype="float32", enforce_eager=True)
    config.enrich_config()
    found: dict[str, Any] = {"model_class_name": config.model_class_name}
    if case.step == "config":
        return found | {"is_diffusion_model": is_diffusion_model(str(folder))}
    if case.step == "registry":
        config.model_class_name = architecture
        if DiffusionModelRegistry._try_load_model_cls(architecture) is None:
            raise LookupError("no class")
        return {
            "inputs": list(io_support.supports_multimodal_input(config)),
            "audio": io_support.supports_audio_output(architecture),
        }
    pipeline = importlib.import_module(module).ExamplePipeline(od_config=config)
    DiffusersPipelineLoader(LoadConfig(), config).load_weights(pipeline)
    found |= {name: value.flatten()[0].item() for name, value in pipeline.named_parameters()}
    return found | {"fusion": getattr(pipeline, "fusion", None)}


def main() -> None:
    root = Path(sys.argv[1])
    sys.path.insert(0, str(root))
    import torch

    torch.set_num_threads(1)
    results = {}
    for number, case in enumerate(CASES):
        module = f"trap_{number}"
        (root / f"{module}.py").write_text(case.text, "utf-8")
        folder = root / f"checkpoint_{number}"
        folder.mkdir()
        write(folder, case.files)
        try:
            results[f"{case.rule}-{case.name}"] = {"outcome": "loaded", "facts": run(case, folder, module)}
        except Exception as error:
            results[f"{case.rule}-{case.name}"] = {"outcome": f"{type(error).__name__}: {error}", "facts": {}}
    (root / "results.json").write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()
