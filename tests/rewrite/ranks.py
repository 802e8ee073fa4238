"""Runs generated transformers on the ranks of the real vLLM-Omni; a process of its own, started by test_ranks.

``python -m tests.rewrite.ranks FOLDER``: reads ``FOLDER/cases.json`` and writes one JSON line for each case to stdout.
A case names a port and a parallel configuration; the answer holds, by rank, the relative error against the normal form,
the parameters it keeps in its blocks, the query lengths its attention layers see and its collectives, or the error.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from omniport.verify.forks import Rank, RankError, fork_ranks


def load(path: Path) -> Any:
    """A module from a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def inputs(shapes: dict[str, Any]) -> dict[str, Any]:
    """Forward arguments: a list is the shape of random numbers, anything else is taken as it is."""
    import torch

    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(shape, generator=generator) if isinstance(shape, list) else shape
        for name, shape in shapes.items()
    }


def reference(folder: Path, model: dict[str, Any]) -> None:
    """Build the normal form with random parameters, the one-dimensional ones too; keep its weights and its output."""
    import torch

    module = load(folder / model["normal"])
    torch.manual_seed(0)
    net = getattr(module, model["root"])(**model["config"]).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (0.5 if parameter.ndim == 1 else 0.0))
        outputs = {
            lengths: net(**inputs(model[lengths]))[0] for lengths in ("inputs", "odd", "absent") if lengths in model
        }
    torch.save({"weights": net.state_dict(), **outputs}, folder / f"{model['normal']}.pt")


def measure(folder: Path, model: dict[str, Any], case: dict[str, Any], rank: Rank) -> dict[str, Any]:
    """One rank of one case."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from vllm_omni.diffusion.attention.layer import Attention
    from vllm_omni.diffusion.data import OmniDiffusionConfig

    from omniport.verify.engine import apply_sequence_parallel, bare_worker, finish_loading, relative_error

    parallel = {"parallel_config": case["parallel"]} if case["parallel"] else {}
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    config = OmniDiffusionConfig.from_kwargs(model=str(empty), dtype="float32", enforce_eager=True, **parallel)
    config.master_port = rank.port
    with bare_worker(config, rank):
        module = load(folder / case["port"])
        cls = getattr(module, model["root"])
        if case.get("meta"):
            with torch.device("meta"):
                net = cls(od_config=config, **case["meta"])
            return {"blocks": sum(p.numel() for n, p in net.named_parameters() if "blocks." in n)}
        net = cls(od_config=config, **model["config"]).eval()
        kept = torch.load(folder / f"{model['normal']}.pt")
        weights = [(n, w) for n, w in kept["weights"].items() if n != case.get("drop")]
        weights += [(n, torch.zeros(1)) for n in case.get("add", [])]
        loaded = net.load_weights(weights)
        finish_loading(net)
        applied = apply_sequence_parallel(net, config)
        queries: list[int] = []
        for layer in net.modules():
            if isinstance(layer, Attention):
                layer.register_forward_pre_hook(lambda _, args: queries.append(args[0].shape[1]))
        with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as events:
            output = net(**inputs(model[case["lengths"]]))[0]
        return {
            "error": relative_error(output, kept[case["lengths"]]),
            "blocks": sum(p.numel() for n, p in net.named_parameters() if "blocks." in n),
            "loaded": sorted(loaded) == sorted(net.state_dict()),
            "applied": applied,
            "queries": queries,
            "collectives": {e.key: e.count for e in events.key_averages() if e.key.startswith("gloo:")},
        }


def main(folder: Path) -> None:
    """Import once, fork each case."""
    import torch

    torch.set_num_threads(1)
    import vllm_omni.diffusion.worker.diffusion_worker  # noqa: F401
    from vllm_omni.platforms import current_omni_platform

    current_omni_platform.get_diffusion_worker_cls()
    gc.collect()
    gc.freeze()
    data = json.loads((folder / "cases.json").read_text())
    for name, model in data["models"].items():
        fork_ranks(lambda rank, model=model: reference(folder, model), 1, logs=folder, name=f"reference-{name}")
    for index, case in enumerate(data["cases"]):
        model = data["models"][case["model"]]
        try:
            answer: Any = fork_ranks(
                lambda rank, model=model, case=case: measure(folder, model, case, rank),
                case["world"],
                logs=folder,
                name=f"case{index}",
            )
        except RankError as error:
            answer = {"error": error.outcome.error, "log": error.outcome.log}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
