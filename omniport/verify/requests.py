"""Sending a case to vLLM-Omni's worker.  Runs in a forked child."""

from __future__ import annotations

from typing import Any

import torch

from omniport.verify.cases import RENAMED, SEED, Case


def run_case(worker: Any, config: Any, case: Case, output_type: str) -> torch.Tensor:
    """Run one case through the worker and return latents, or the decoded image before post-processing.

    Raises:
        RuntimeError: the worker answered with an error instead of an output.
    """
    requests = [_request(case, index, output_type) for index in range(len(case.prompts))]
    if len(requests) == 1:
        return _tensor(worker.execute_model(requests[0], config))
    return torch.cat([_tensor(output.result) for output in run_batch(worker, requests, config).runner_outputs])


def _request(case: Case, index: int, output_type: str) -> Any:
    from vllm_omni.diffusion.request import OmniDiffusionRequest
    from vllm_omni.inputs.data import OmniDiffusionSamplingParams

    sampling = OmniDiffusionSamplingParams(
        seed=SEED + index, output_type=output_type, **{RENAMED.get(k, k): v for k, v in case.sampling.items()}
    )
    prompt = {"prompt": case.prompts[index]}
    if case.negative is not None:
        prompt["negative_prompt"] = case.negative
    return OmniDiffusionRequest(prompt=prompt, sampling_params=sampling, request_id=f"{case.name}-{index}")


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


def _tensor(output: Any) -> torch.Tensor:
    if output.error:
        raise RuntimeError(f"the worker answered: {output.error}")
    value = output.output
    while not isinstance(value, torch.Tensor):
        if isinstance(value, dict):
            value = value.get("payload", value)
            value = next(iter(value.values())) if isinstance(value, dict) else value
        elif isinstance(value, (list, tuple)) and value:
            value = value[0]
        else:
            raise RuntimeError(f"the worker's output holds no tensor but {type(value).__name__}")
    return value.float().clone()
