"""Time one denoising forward of a transformer in three versions: diffusers, vLLM-Omni's own port, the generated port.

    python benchmarks/gpu/forward.py --ports TREE [--model NAME]... [--compile] [--json FILE]

TREE holds the ports that ``python -m omniport.corpus --tree TREE`` wrote.  Every model has its published width and a
few blocks of each kind; all versions hold the same random weights, in bfloat16, and get the same inputs.  The versions
are timed in turns, round by round, so that a drift of the machine meets all alike; the figures are medians of CUDA
events.  ``error`` is the relative difference to diffusers' output.  With ``--parallel tensor_parallel_size=2``, started
once per rank by torchrun, the ports alone are timed.  ``--guided`` times a guided prediction: a forward with the text,
one with another text, and their combination; with ``--parallel cfg_parallel_size=2`` each rank does one of the two.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from models import MODELS, Model
from torch import nn

ROUNDS = 12
CALLS = 3  # forwards per round and version
WARM_UP = 3
SCALE = 4.0  # of guidance


def main(arguments: argparse.Namespace, models: Sequence[Model]) -> None:
    """Time the models asked for, print a table, and write the figures down."""
    rows: list[dict[str, Any]] = []
    first_rank = int(os.environ.get("RANK", "0")) == 0
    parallel = {k: int(v) for k, v in (item.split("=") for item in arguments.parallel.split(",") if item)}
    with worker(parallel) as od_config:
        for model in (m for m in models if not arguments.model or m.name in arguments.model):
            print(model.name, flush=True)
            try:
                rows += measure(model, arguments, od_config, parallel)
            except Exception as error:  # one model must not take the others' figures with it
                if arguments.strict:
                    raise
                print(f"{model.name}: {type(error).__name__}: {str(error)[:400]}", flush=True)
            gc.collect()
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
            if arguments.json and first_rank:  # after each model: what was measured outlasts a time limit
                Path(arguments.json).write_text(json.dumps({"versions": versions(), "rows": rows}, indent=2) + "\n")
    if first_rank:
        print(table(rows))


def read_arguments(description: str) -> argparse.Namespace:
    """The command line of the benchmarks in this folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ports", required=True, help="tree with the generated ports")
    parser.add_argument("--model", action="append", help="name of a model (default: all)")
    parser.add_argument("--compile", action="store_true", help="regional compile instead of eager")
    parser.add_argument("--parallel", default="", help="options of the parallel config: a=1,b=2")
    parser.add_argument("--guided", action="store_true", help="two forwards and their combination in place of one")
    parser.add_argument("--only", default="", help="versions, e.g. generated,hand-written")
    parser.add_argument("--profile", default="", help="folder for the kernels of one forward of each version")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script itself")
    parser.add_argument("--strict", action="store_true", help="stop at the first error")
    parser.add_argument("--json", default="")
    return parser.parse_args()


def measure(
    model: Model, arguments: argparse.Namespace, od_config: Any, parallel: dict[str, int]
) -> list[dict[str, Any]]:
    """One row per version."""
    config = {**model.config, **(model.tiny if arguments.tiny else {})}
    od_config.tf_model_config.params.clear()
    od_config.tf_model_config.params.update(config)
    generator = torch.Generator().manual_seed(7)
    drawn = torch.Generator(arguments.device).manual_seed(7)
    wanted = [v for v in arguments.only.split(",") if v] or ["diffusers", "hand-written", "generated"]
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(arguments.device):
            module = importlib.import_module(f"diffusers.models.transformers.{model.reference}")
            reference = getattr(module, model.cls)(**config).eval()
        keep_in_float32(reference)
        redraw(reference, drawn)
        inputs = {k: _placed(v, arguments.device) for k, v in model.inputs(config, arguments.tiny, generator).items()}
        with torch.inference_mode():
            own = accepted(type(reference), inputs)
            expected = prediction(reference, own, arguments.guided)().float().cpu()
            weights = reference.state_dict()
            versions: dict[str, tuple[nn.Module, dict[str, Any]]] = {}
            if "diffusers" in wanted and not parallel:
                versions["diffusers"] = (reference, own)
            for name, source in (("hand-written", model.hand), ("generated", model.generated)):
                if name in wanted and source:
                    _extend(Path(arguments.ports))
                    cls = getattr(importlib.import_module(source), model.cls)
                    versions[name] = build(cls, od_config, config, weights, inputs, arguments.device, parallel)
            return timed(model, versions, expected, arguments)
    finally:
        torch.set_default_dtype(torch.float32)


def _extend(tree: Path) -> None:
    """Let the package of vLLM-Omni's models also find the generated ports."""
    import vllm_omni.diffusion.models as models

    folder = str(tree / "vllm_omni/diffusion/models")
    if folder not in models.__path__:
        models.__path__.append(folder)


def _placed(value: Any, device: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_placed(item, device) for item in value)
    if isinstance(value, dict):
        return {key: _placed(item, device) for key, item in value.items()}
    return value.to(device) if torch.is_tensor(value) else value


def keep_in_float32(model: nn.Module) -> None:
    """What ``from_pretrained`` leaves in float32 whatever precision is asked for."""
    kept = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, parameter in model.named_parameters():
        if kept & set(name.split(".")):
            parameter.data = parameter.data.float()


def redraw(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights of a size that keeps activations near one; the same on every rank."""
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32, device=generator.device)
            if parameter.dim() > 1:
                drawn /= parameter[0].numel() ** 0.5
            else:
                drawn = 0.02 * drawn
            parameter.copy_(drawn.to(parameter.dtype))
        for module in model.modules():
            if "Norm" in type(module).__name__ and isinstance(weight := getattr(module, "weight", None), nn.Parameter):
                weight.add_(1)


@contextmanager
def worker(parallel: dict[str, int]) -> Iterator[Any]:
    """vLLM-Omni's worker for a model folder without weights, with its groups and contexts; the config of its rank."""
    from vllm.config import set_current_vllm_config
    from vllm.utils.import_utils import resolve_obj_by_qualname
    from vllm_omni.diffusion.config import set_current_diffusion_config
    from vllm_omni.diffusion.data import OmniDiffusionConfig
    from vllm_omni.diffusion.forward_context import set_forward_context
    from vllm_omni.platforms import current_omni_platform

    rank = int(os.environ.get("RANK", "0"))
    with tempfile.TemporaryDirectory() as folder:
        index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
        (Path(folder) / "model_index.json").write_text(json.dumps(index))
        (Path(folder) / "transformer").mkdir()
        (Path(folder) / "transformer/config.json").write_text(json.dumps({"_class_name": "FluxTransformer2DModel"}))
        options = {"parallel_config": parallel} if parallel else {}
        od_config = OmniDiffusionConfig.from_kwargs(
            model=folder, model_class_name="FluxPipeline", dtype="bfloat16", **options
        )
        od_config.enrich_config()
    od_config.master_port = int(os.environ.get("MASTER_PORT", "29511"))
    cls = resolve_obj_by_qualname(current_omni_platform.get_diffusion_worker_cls())
    made = cls(local_rank=rank, rank=rank, od_config=od_config, skip_load_model=True)
    with ExitStack() as stack:
        stack.enter_context(set_forward_context(vllm_config=made.vllm_config, omni_diffusion_config=od_config))
        stack.enter_context(set_current_vllm_config(made.vllm_config))
        stack.enter_context(set_current_diffusion_config(od_config))
        yield od_config


def build(
    cls: Any,
    od_config: Any,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    inputs: dict[str, Any],
    device: str,
    parallel: dict[str, int],
) -> tuple[nn.Module, dict[str, Any]]:
    """A port with the reference's weights, and the inputs that its forward takes."""
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

    takes = inspect.signature(cls.__init__).parameters
    arguments = {k: v for k, v in config.items() if k in takes}
    if "od_config" in takes:
        arguments["od_config"] = od_config
    with torch.device(device):
        model = cls(**arguments).eval()
    model.load_weights(iter(weights.items()))
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if isinstance(method, QuantizeMethodBase):
            method.process_weights_after_loading(module)
    if any(key in parallel for key in ("ulysses_degree", "ring_degree")):
        from types import SimpleNamespace

        from vllm_omni.diffusion.registry import _apply_sequence_parallel_if_enabled

        _apply_sequence_parallel_if_enabled(SimpleNamespace(transformer=model, _dit_modules=["transformer"]), od_config)
    return model.to(device), accepted(cls, inputs)


def accepted(cls: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that the forward of ``cls`` takes."""
    taken = inspect.signature(inspect.unwrap(cls.forward)).parameters
    return {k: v for k, v in {**inputs, "return_dict": False}.items() if k in taken}


def first(output: Any) -> torch.Tensor:
    """The first tensor of a model's output."""
    while not torch.is_tensor(output):
        output = output[0] if isinstance(output, (list, tuple)) else next(iter(output.values()))
    return output


def prediction(module: nn.Module, inputs: dict[str, Any], guided: bool) -> Callable[[], torch.Tensor]:
    """What is timed: one forward, or two that vLLM-Omni's guidance combines (and shares out among its ranks)."""
    if not guided:
        return lambda: first(module(**inputs))
    from vllm_omni.diffusion.distributed.cfg_parallel import CFGParallelMixin

    class Guided(CFGParallelMixin):
        def predict_noise(self, **kwargs: Any) -> torch.Tensor:
            return first(module(**kwargs))

    negative = {**inputs, "encoder_hidden_states": inputs["encoder_hidden_states"].flip(1)}
    return lambda: first(Guided().predict_noise_maybe_with_cfg(True, SCALE, inputs, negative, cfg_normalize=False))


def timed(
    model: Model,
    versions: dict[str, tuple[nn.Module, dict[str, Any]]],
    expected: torch.Tensor,
    arguments: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Warm every version up, then time them in turns."""
    runs: dict[str, Callable[[], Any]] = {}
    errors: dict[str, float] = {}
    setup: dict[str, float] = {}
    for name, (module, inputs) in versions.items():
        if arguments.compile:
            compile_blocks(name, module)

        run = prediction(module, inputs, arguments.guided)
        started = time.monotonic()
        try:
            got = run().float().cpu()
            for _ in range(WARM_UP):
                run()
        except Exception as error:
            if arguments.strict:
                raise
            print(f"{model.name}, {name}: {type(error).__name__}: {str(error)[:400]}", flush=True)
            continue
        _synchronise(arguments.device)
        setup[name] = time.monotonic() - started
        errors[name] = float((got - expected).norm() / expected.norm())
        runs[name] = run
        if arguments.profile:
            profile(run, Path(arguments.profile) / f"{model.name}-{name}.txt")
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(ROUNDS):  # each version follows each other one equally often: a hot card clocks lower
        first_of = number % len(names)
        for name in names[first_of:] + names[:first_of]:
            times[name].append(_milliseconds(runs[name], arguments.device))
    return [
        {
            "model": model.name,
            "what": model.what,
            "version": name,
            "mode": "compiled" if arguments.compile else "eager",
            "parallel": arguments.parallel,
            "guided": arguments.guided,
            "ms": round(statistics.median(values), 3),
            "fastest": round(min(values), 3),
            "slowest": round(max(values), 3),
            "error": errors[name],
            "first call s": round(setup[name], 1),
        }
        for name, values in times.items()
    ]


def compile_blocks(name: str, module: nn.Module) -> None:
    """Compile each repeated block in the way of its library; diffusers does not name the blocks of some models."""
    if name != "diffusers":
        from vllm_omni.diffusion.compile import regionally_compile

        regionally_compile(module, dynamic=False)
        return
    if getattr(module, "_repeated_blocks", None):
        module.compile_repeated_blocks(fullgraph=True)  # type: ignore[operator]
        return
    for blocks in (m for m in module.modules() if isinstance(m, nn.ModuleList) and len(m) > 1):
        for block in blocks:
            if type(block).__name__.endswith("Block"):
                block.compile(fullgraph=True)


def _milliseconds(run: Callable[[], Any], device: str) -> float:
    if device != "cuda":
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1000
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(CALLS):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / CALLS


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def profile(run: Callable[[], Any], file: Path) -> None:
    """The kernels of one forward by time, with their number: more launches or casts than the neighbour show here."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as seen:
        run()
        _synchronise("cuda" if torch.cuda.is_available() else "cpu")
    sort = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(seen.key_averages().table(sort_by=sort, row_limit=45, max_name_column_width=70))


def versions() -> dict[str, str]:
    from importlib.metadata import version

    found = {name: version(name) for name in ("diffusers", "vllm", "vllm-omni")}
    found["torch"] = torch.__version__
    found["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds and ratios, one line per model and version."""
    base: dict[str, dict[str, float]] = {}
    for row in rows:
        base.setdefault(row["model"], {})[row["version"]] = row["ms"]
    lines = [
        f"{'model':14} {'version':13} {'mode':9} {'ms':>9} {'range':>17} {'/diffusers':>10} {'/hand':>6} {'error':>8}"
    ]
    for row in rows:
        ratios = [f"{row['ms'] / base[row['model']][n]:.3f}" if n in base[row["model"]] else "-" for n in _BASES]
        spread = f"{row['fastest']:.2f}..{row['slowest']:.2f}"
        lines.append(
            f"{row['model']:14} {row['version']:13} {row['mode']:9} {row['ms']:9.3f} {spread:>17}"
            f" {ratios[0]:>10} {ratios[1]:>6} {row['error']:8.1e}"
        )
    return "\n".join(lines)


_BASES = ("diffusers", "hand-written")

if __name__ == "__main__":
    main(read_arguments(__doc__ or ""), MODELS)
