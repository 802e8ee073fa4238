"""Calls of a transformer over the stages of a pipeline, as vLLM-Omni's mixin makes them.  Runs in a forked child."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
from torch import nn

from omniport.verify.inputs import plainly
from omniport.verify.meter import block_lists
from omniport.verify.proofs import Proof, distance, unequal
from omniport.verify.tasks import flatten_output

RECEIVED = "intermediate_tensors"


def prove(
    model: nn.Module,
    calls: dict[str, dict[str, Any]],
    expected: dict[str, list[torch.Tensor]],
    asked: dict[str, int] | None = None,
) -> Proof:
    """Run ``calls`` on the stage of this rank, each with its neighbours.

    Args:
        model: the port's transformer on this rank, loaded.
        calls: inputs of the whole model by name, the same on each rank.
        expected: its outputs by name.
        asked: how often the calls together run the blocks of a list, where some of them leave out blocks.

    Returns:
        the largest error, of the last rank; of any other the figure is None.
    """
    held = {name: _own(getattr(model, name)) for name in block_lists(model)}
    lengths = {name: len(getattr(model, name)) for name in held}
    ran = count_runs(held)
    worst: float | None = None
    problems: list[str] = []
    for name, inputs in calls.items():
        outputs = run_stage(model, inputs)
        if outputs is not None:
            error = distance(outputs, expected[name])
            worst = max(worst or 0.0, error)
            problems += unequal(name, error)
    own = {name: (len(blocks), ran[name] / len(calls)) for name, blocks in held.items()}
    ranks = _everywhere(own)
    shared = [name for name in held if any(rank[name][0] < lengths[name] for rank in ranks)]
    problems += _faults(ranks, shared, lengths)
    problems += _left_out(ranks, shared, {name: number / len(calls) for name, number in (asked or {}).items()}, lengths)
    total = sum(lengths[name] for name in shared)
    shares = " and ".join(f"{sum(rank[name][0] for name in shared)}" for rank in ranks)
    parameters = sum(p.numel() for p in model.parameters())
    sizes = " and ".join(map(str, _everywhere(parameters)))
    detail = f"of {total} blocks of {', '.join(shared) or 'no list'} the stages hold {shares}, {sizes} parameters"
    return Proof(worst, tuple(problems), detail)


def count_runs(blocks: dict[str, Any]) -> Counter[str]:
    """A count, by list, that goes up with every call of a block."""
    ran: Counter[str] = Counter(dict.fromkeys(blocks, 0))
    for name, items in blocks.items():
        for block in items:
            block.register_forward_hook(lambda *_, name=name: ran.update([name]))
    return ran


def run_stage(model: nn.Module, inputs: dict[str, Any]) -> list[torch.Tensor] | None:
    """This rank's part of one call; the outputs on the last rank, else None."""
    from vllm.v1.worker.gpu_worker import AsyncIntermediateTensors
    from vllm_omni.diffusion.distributed.parallel_state import get_pp_group

    group = get_pp_group()
    if not group.is_first_rank:
        inputs = {**inputs, RECEIVED: AsyncIntermediateTensors(*group.irecv_tensor_dict())}
    with torch.inference_mode():
        result = model(**inputs, **plainly(model))
    if group.is_last_rank:
        return [tensor.clone() for tensor in flatten_output(result)]
    sent = getattr(result[0], "tensors", None)
    if sent is None:
        raise TypeError(f"a stage that is not the last gives back {type(result[0]).__name__}, not what it hands on")
    for work in group.isend_tensor_dict(sent):
        work.wait()
    return None


def _own(blocks: Any) -> list[nn.Module]:
    """The blocks of a list that this rank made."""
    from vllm.model_executor.models.utils import PPMissingLayer

    return [block for block in blocks if not isinstance(block, PPMissingLayer)]


def _everywhere(value: Any) -> list[Any]:
    """The value of each rank."""
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def _faults(ranks: list[dict[str, tuple[int, float]]], shared: list[str], lengths: dict[str, int]) -> list[str]:
    """What is wrong with the shares of the ranks: ``(held, run in a call)`` by list."""
    if not shared:
        return ["every stage holds all blocks"]
    problems = []
    for name in shared:
        total = sum(rank[name][0] for rank in ranks)
        if total != lengths[name]:
            problems.append(f"{name}: the stages hold {total} of {lengths[name]} blocks together")
    for at, rank in enumerate(ranks):
        held, run = (sum(rank[name][part] for name in shared) for part in (0, 1))
        most = math.ceil(sum(lengths[name] for name in shared) / len(ranks))
        if held > most:
            problems.append(f"stage {at} holds {held:g} blocks, more than {most}")
        if run > held:
            problems.append(f"stage {at} holds {held:g} blocks and runs {run:g} in a call")
    return problems


def _left_out(
    ranks: list[dict[str, tuple[int, float]]], shared: list[str], asked: dict[str, float], lengths: dict[str, int]
) -> list[str]:
    """Blocks that a stage holds and does not run, but for those that the calls leave out: ``asked`` runs in a call."""
    held, run = ([sum(rank[name][part] for name in shared) for rank in ranks] for part in (0, 1))
    wanted = sum(asked.get(name, lengths[name]) for name in shared)
    if abs(sum(run) - wanted) < 1e-6 and (wanted < sum(lengths[name] for name in shared) or held == run):
        return []
    least = [f"stage {at} holds {h:g} blocks and runs {r:g}" for at, (h, r) in enumerate(zip(held, run, strict=True))]
    return [f"{', '.join(least)} in a call, where {wanted:g} are to be run"]
