"""Standing a port up inside the real vLLM-Omni, one rank per process.  Runs in a forked child."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from omniport.verify.forks import Rank
from omniport.verify.meeting import meeting
from omniport.verify.port import Port


def make_config(
    port: Port,
    model: Path,
    rank: Rank,
    parallel: dict[str, Any],
    output_type: str = "latent",
    options: dict[str, Any] | None = None,
) -> Any:
    """The ``OmniDiffusionConfig`` of one rank: fp32, eager, the tiny checkpoint at ``model``, and more ``options``."""
    from vllm_omni.diffusion.data import OmniDiffusionConfig

    options = {**(options or {}), **({"parallel_config": dict(parallel)} if parallel else {})}
    config = OmniDiffusionConfig.from_kwargs(
        model=str(model),
        model_class_name=port.architecture,
        dtype="float32",
        enforce_eager=True,
        output_type=output_type,
        **options,
    )
    config.enrich_config()
    # The constructor probes its port and moves on when it is taken, i.e. on every rank that comes after rank 0 has
    # begun to listen; the ranks would then wait for each other for ever.
    config.master_port = rank.port
    return config


def register(port: Port) -> None:
    """Make vLLM-Omni's registry know a port that is not part of its tree.

    The plugin's own entry point does it, as it would once installed; without one the manifest's names are registered.
    """
    if port.kind != "plugin":
        return
    if port.entry_point is not None:
        module, _, function = port.entry_point.partition(":")
        getattr(importlib.import_module(module), function)()
        return
    from vllm_omni.diffusion.registry import register_diffusion_model

    register_diffusion_model(
        model_arch=port.architecture,
        module_name=port.pipeline_module,
        class_name=port.pipeline_class,
        pre_process_func_name=port.pre_process,
        post_process_func_name=port.post_process,
    )


def transformer_class(port: Port) -> Any:
    """The port's transformer class."""
    return getattr(importlib.import_module(port.transformer_module), port.transformer_class)


@contextmanager
def bare_worker(config: Any, rank: Rank) -> Iterator[Any]:
    """A ``DiffusionWorker`` without a model: devices, groups and contexts as the engine sets them."""
    from vllm.config import set_current_vllm_config
    from vllm.utils.import_utils import resolve_obj_by_qualname
    from vllm_omni.diffusion.config import set_current_diffusion_config
    from vllm_omni.diffusion.forward_context import set_forward_context
    from vllm_omni.platforms import current_omni_platform

    cls = resolve_obj_by_qualname(current_omni_platform.get_diffusion_worker_cls())
    with meeting(rank, cls):
        worker = cls(local_rank=rank.rank, rank=rank.rank, od_config=config, skip_load_model=True)
    with ExitStack() as stack:
        stack.enter_context(set_forward_context(vllm_config=worker.vllm_config, omni_diffusion_config=config))
        stack.enter_context(set_current_vllm_config(worker.vllm_config))
        stack.enter_context(set_current_diffusion_config(config))
        yield worker


def build_transformer(port: Port, config: Any) -> nn.Module:
    """Construct the port's transformer as its pipeline does; call inside :func:`bare_worker`."""
    from vllm_omni.diffusion.utils.tf_utils import get_transformer_config_kwargs

    cls = transformer_class(port)
    kwargs = get_transformer_config_kwargs(config.tf_model_config, cls)
    model: nn.Module = cls(od_config=config, quant_config=config.quantization_config, **kwargs)
    return model.eval()


def finish_loading(model: nn.Module) -> None:
    """What vLLM-Omni's loader does once the weights are in: each linear's method prepares its weight."""
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if isinstance(method, QuantizeMethodBase):
            method.process_weights_after_loading(module)


def apply_sequence_parallel(transformer: nn.Module, config: Any) -> bool:
    """Hook the transformer's ``_sp_plan`` as ``initialize_model`` does; whether vLLM-Omni found a plan to apply."""
    from vllm_omni.diffusion.forward_context import get_forward_context
    from vllm_omni.diffusion.registry import _apply_sequence_parallel_if_enabled

    _apply_sequence_parallel_if_enabled(SimpleNamespace(transformer=transformer, _dit_modules=["transformer"]), config)
    return bool(get_forward_context().sp_plan_hooks_applied)


def apply_hsdp(transformer: nn.Module, config: Any) -> None:
    """Shard the parameters of a loaded transformer as vLLM-Omni's loader does."""
    from vllm_omni.diffusion.distributed.hsdp import HSDPInferenceConfig, apply_hsdp_to_model

    settings = config.parallel_config
    sharding = HSDPInferenceConfig(
        enabled=True,
        hsdp_replicate_size=settings.hsdp_replicate_size,
        hsdp_shard_size=settings.hsdp_shard_size,
        param_dtype=config.dtype,
    )
    apply_hsdp_to_model(transformer, sharding, target_device=torch.device("cpu"))


def checkpoint_weights(model: Path, component: str) -> dict[str, torch.Tensor]:
    """Every tensor of one component of the tiny checkpoint."""
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for file in sorted((model / component).glob("*.safetensors")):
        weights.update(load_file(file))
    return weights


def build_worker(config: Any, rank: Rank) -> Any:
    """A whole worker with the port's pipeline, loaded through vLLM-Omni's strict loader."""
    from vllm.utils.import_utils import resolve_obj_by_qualname
    from vllm_omni.diffusion.worker.diffusion_worker import WorkerWrapperBase
    from vllm_omni.platforms import current_omni_platform

    cls = resolve_obj_by_qualname(current_omni_platform.get_diffusion_worker_cls())
    with meeting(rank, cls):
        return WorkerWrapperBase(gpu_id=rank.rank, od_config=config, base_worker_class=cls)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """‖got − expected‖ / ‖expected‖ in double precision; infinite for another shape or numbers that are not finite."""
    if got.shape != expected.shape or not torch.isfinite(got).all():
        return float("inf")
    norm = expected.double().norm()
    return float((got.double() - expected.double()).norm() / norm) if norm > 0 else float(got.double().norm())
