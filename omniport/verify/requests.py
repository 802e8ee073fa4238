"""Sending calls to vLLM-Omni's worker.  Runs in a forked child."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from omniport.verify import trace
from omniport.verify.calls import Call, request


def run_call(
    worker: Any, config: Any, call: Call, parameters: Mapping[str, Any], output_type: str = "latent"
) -> list[torch.Tensor]:
    """Run one call through the worker; the tensors of its output, of several requests one after the other.

    What is no latent goes through the port's own post-processing, as in the engine.

    Args:
        parameters: of the reference's ``__call__``.

    Raises:
        RuntimeError: the worker answered with an error instead of an output.
    """
    requests = [request(call, index, parameters, output_type) for index in range(len(call.prompts))]
    torch.manual_seed(requests[0].sampling_params.seed)
    if len(requests) == 1:
        return _final(worker.execute_model(requests[0], config), config, requests[0].sampling_params)
    outputs = run_batch(worker, requests, config).runner_outputs
    parts = [_final(o.result, config, r.sampling_params) for o, r in zip(outputs, requests, strict=True)]
    return [torch.cat(group) for group in zip(*parts, strict=True)]


def _final(answer: Any, config: Any, sampling: Any) -> list[torch.Tensor]:
    if answer.error:
        raise RuntimeError(f"the worker answered: {answer.error}")
    output = answer.output
    # The engine takes the answer of the first rank alone; the others may have decoded nothing.
    first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    if sampling.output_type != "latent" and first:
        output = _post_process(output, config, sampling)
    return trace.tensors_of(output)


def _post_process(output: Any, config: Any, sampling: Any) -> Any:
    """What the engine makes of a decoded output."""
    from vllm_omni.diffusion.registry import get_diffusion_post_process_func

    config.output_type = sampling.output_type
    function = get_diffusion_post_process_func(config)
    if function is None:
        return output
    given = {"sampling_params": sampling} if "sampling_params" in inspect.signature(function).parameters else {}
    made = function(output, **given)
    return made["payload"] if isinstance(made, dict) and "payload" in made else made


def run_batch(worker: Any, requests: list[Any], config: Any) -> Any:
    """Run several of vLLM-Omni's requests as the scheduler batches them; the worker's answer."""
    from vllm_omni.diffusion.sched.interface import CachedRequestData, DiffusionSchedulerOutput, NewRequestData

    scheduled = DiffusionSchedulerOutput(
        step_id=0,
        scheduled_new_reqs=[NewRequestData(request_id=r.request_id, req=r) for r in requests],
        scheduled_cached_reqs=CachedRequestData.make_empty(),
        finished_req_ids=set(),
        num_running_reqs=len(requests),
        num_waiting_reqs=0,
    )
    return worker.worker.execute_model_batch(scheduled, config)
