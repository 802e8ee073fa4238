"""The children's work for the features ``import`` and ``load``: what a port declares, and how strictly it loads."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omniport.verify import checkpoint, engine
from omniport.verify.forks import Rank
from omniport.verify.port import CUSTOM, Port
from omniport.verify.results import Check
from omniport.verify.tasks import saved


def import_port(port: Port) -> tuple[list[Check], list[str]]:
    """Import the port through vLLM-Omni's registry and compare it with its manifest and its reference."""
    import vllm_omni
    from vllm_omni.diffusion import registry

    engine.register(port)
    resolved = registry.DiffusionModelRegistry._try_load_model_cls(port.architecture)
    wanted = f"{port.pipeline_module}.{port.pipeline_class}"
    got = "nothing" if resolved is None else f"{resolved.__module__}.{resolved.__qualname__}"
    checks = [
        Check(
            f"the registry resolves {port.architecture} to the port",
            got == wanted,
            "" if got == wanted else f"it resolves to {got}",
        )
    ]
    package = Path(str(vllm_omni.__file__)).resolve().parent
    if port.kind != "installed":
        module = importlib.import_module(port.pipeline_module)
        inside = Path(str(module.__file__)).resolve().is_relative_to(port.root.resolve())
        checks.append(
            Check("the module is the one below the port's root", inside, "" if inside else f"it is {module.__file__}")
        )
    transformer = engine.transformer_class(port)
    if port.form != CUSTOM:  # the reference of such a port is never imported
        checks.append(constructor_check(port, transformer))
    names = registry._DIFFUSION_POST_PROCESS_FUNCS, registry._DIFFUSION_PRE_PROCESS_FUNCS
    for function, table, what in zip((port.post_process, port.pre_process), names, ("post", "pre"), strict=True):
        if function is not None:
            known = table.get(port.architecture)
            ok = known == function and callable(getattr(importlib.import_module(port.pipeline_module), function, None))
            checks.append(
                Check(
                    f"the {what}-process function is registered",
                    ok,
                    "" if ok else f"the registry has {known!r}, not {function!r}",
                )
            )
    where = {
        "tree": "of the tree",
        "plugin": f"after the plugin's {port.entry_point or 'registration'}",
        "installed": "as installed",
    }[port.kind]
    evidence = [f"vllm_omni {where} resolves {port.architecture} to {got}", f"{len(checks)} checks"]
    if port.kind == "tree" and not package.is_relative_to(port.root.resolve()):
        checks.append(Check("the tree's vllm_omni is the one that runs", False, f"it is {package}"))
    return checks, evidence


def constructor_check(port: Port, transformer: Any) -> Check:
    """Whether the port's constructor takes the reference's parameters with the reference's defaults."""
    empty = inspect.Parameter.empty
    reference = inspect.signature(checkpoint.import_object(port.reference_transformer).__init__).parameters
    own = inspect.signature(transformer.__init__).parameters
    wrong = []
    for name, parameter in reference.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name not in own:
            wrong.append(f"{name} is missing")
        elif parameter.default is not empty and own[name].default != parameter.default:
            wrong.append(f"{name} defaults to {own[name].default!r}, the reference's to {parameter.default!r}")
    wrong += [f"{name} is missing" for name in ("od_config", "quant_config", "prefix") if name not in own]
    name = "the constructor keeps the reference's parameters and defaults"
    return Check(name, not wrong, ", ".join(wrong), main=False)


def load_port(port: Port, work: Path, rank: Rank) -> dict[str, Any]:
    """Load a marked checkpoint into the port's transformer, then checkpoints with something wrong.

    Each checkpoint tensor is filled with a number of its own and each parameter with NaN beforehand, so that what
    arrived where can be read off the parameters: an element that still is NaN was never filled, a number found less
    often than its tensor has elements was not wholly consumed, and a parameter with several numbers is fused.

    Returns:
        ``tensors``, ``parameters``, ``fused``: counts; ``unfilled``, ``unconsumed``, ``overfilled``: names;
        ``accepted``: what was wrong with the checkpoints that were not refused; ``probes``, ``by_port``: how many
        wrong checkpoints there were, and how many ``load_weights`` itself refused.
    """
    torch.set_num_threads(1)
    folder = saved(work, "checkpoint")
    config = engine.make_config(port, folder, rank, {})
    with engine.bare_worker(config, rank), torch.no_grad():
        model = engine.build_transformer(port, config)
        weights = engine.checkpoint_weights(folder, checkpoint.transformer_component(port))
        return load_marked(model, weights)


def load_marked(
    model: nn.Module, weights: dict[str, torch.Tensor], without: Collection[str] | None = None
) -> dict[str, Any]:
    """The work of :func:`load_port` on a model that was built; ``weights`` give names and shapes.

    ``without`` names the tensors that are left out one at a time; None is all of them.
    """
    marked = {name: torch.full_like(t, i + 1) for i, (name, t) in enumerate(weights.items())}
    for parameter in model.parameters():
        parameter.fill_(float("nan"))
    model.load_weights(iter(marked.items()))  # type: ignore[operator]
    result = _read_marks(model, marked)
    left_out = marked.keys() if without is None else {*without, *result["fused_shards"]}
    return result | refusals(model, marked, result["fused_shards"], left_out)


def _read_marks(model: nn.Module, marked: dict[str, torch.Tensor]) -> dict[str, Any]:
    found = [0] * (len(marked) + 1)
    unfilled: list[str] = []
    fused, shards = 0, set[str]()
    names = list(marked)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if not values.is_floating_point():
            continue
        if torch.isnan(values).any():
            unfilled.append(name)
        marks, counts = values.detach()[~torch.isnan(values)].float().unique(return_counts=True)  # type: ignore[no-untyped-call]
        ids = [
            (int(m), int(c))
            for m, c in zip(marks, counts, strict=True)
            if float(m).is_integer() and 1 <= m <= len(marked)
        ]
        is_parameter = isinstance(values, nn.Parameter)
        if is_parameter and len(ids) > 1:
            fused += 1
            shards.update(names[i - 1] for i, _ in ids)
        for index, count in ids if is_parameter else []:
            found[index] += count
    buffers = dict(model.named_buffers())
    sizes = [(name, t.numel(), found[i + 1]) for i, (name, t) in enumerate(marked.items()) if name not in buffers]
    return {
        "tensors": len(marked),
        "parameters": sum(1 for _ in model.parameters()),
        "fused": fused,
        "fused_shards": sorted(shards),
        "unfilled": unfilled,
        "unconsumed": [name for name, size, count in sizes if count < size],
        "overfilled": [name for name, size, count in sizes if count > size],
    }


def refusals(
    model: nn.Module, marked: dict[str, torch.Tensor], fused: list[str], left_out: Collection[str]
) -> dict[str, Any]:
    first = next(iter(marked))
    owner, _, leaf = first.rpartition(".")
    extras = [f"{owner}.unexpected.{leaf}", f"{first}_unexpected", "unexpected.weight"]
    probes = {
        f"without {name}" + (" (a shard of a fused parameter)" if name in fused else ""): [
            (n, t) for n, t in marked.items() if n != name
        ]
        for name in marked
        if name in left_out
    }
    probes |= {f"with the unknown {name}": [*marked.items(), (name, marked[first])] for name in extras}
    accepted, by_port = [], 0
    for what, weights in probes.items():
        refused_by = _refuses(model, weights)
        by_port += refused_by == "port"
        if not refused_by:
            accepted.append(what)
    return {"accepted": accepted, "probes": len(probes), "by_port": by_port}


def _refuses(model: nn.Module, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Who refuses these weights: the port, vLLM-Omni's loader (which misses a name in the answer), or nobody ("")."""
    try:
        loaded = model.load_weights(iter(weights))  # type: ignore[operator]
    except Exception:
        return "port"
    return "" if loaded is None or {n for n, _ in model.named_parameters()} <= set(loaded) else "loader"
