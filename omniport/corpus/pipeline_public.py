"""One call of a pipeline through vLLM-Omni's public ``Omni(model=path).generate(...)``.  Runs in a forked child."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from omniport.corpus.pipeline_stages import OUTPUT, Job, reference_class
from omniport.corpus.results import StageError
from omniport.verify import engine, trace
from omniport.verify.calls import calls_for, inputs
from omniport.verify.forks import Rank
from omniport.verify.pipelines import RECIPES, Recipe


def public(job: Job, root: Path, work: Path, rank: Rank) -> dict[str, Any]:
    """The call ``base`` as a user makes it, against the reference's output.

    Everything between is vLLM-Omni's own: registry, start-up request, request path, worker, post-processing.

    Raises:
        StageError: the engine answered with an error, or the output differs.
    """
    from vllm_omni.entrypoints.omni import Omni

    torch.set_num_threads(1)
    port, recipe = job.port(root), RECIPES.get(job.recipe, Recipe())
    signature = inspect.signature(reference_class(job).__call__)
    call = calls_for(signature, recipe)[0]
    _, expected, _ = torch.load(work / f"{job.key}.reference", weights_only=False)[call.name]
    engine.register(port)
    omni = Omni(
        model=str(work / f"{job.key}.checkpoint"),
        model_class_name=port.architecture,
        dtype="float32",
        enforce_eager=True,
        vae_use_tiling="vae tiling" in recipe.repairs,
    )
    prompt, sampling = inputs(call, 0, signature.parameters)
    torch.manual_seed(sampling.seed)
    (answer,) = omni.generate([prompt], [sampling], use_tqdm=False)
    if answer.error:
        raise StageError(f"the engine answered: {answer.error}")
    got = [_plain(t) for t in _media(answer)]
    error, fault = trace.compare_outputs(got, [_plain(t) for t in expected])
    if not fault and not error <= OUTPUT:
        fault = f"the output is {error:.1e} from diffusers"
    omni.close()
    return {"figure": error, "reason": fault, "detail": f"{answer.final_output_type}, {len(got)} tensors"}


def _media(answer: Any) -> list[torch.Tensor]:
    """The tensors of an answer: its pictures or frames, and its sound."""
    found = trace.tensors_of(answer.images)
    extra = {k: v for k, v in answer.multimodal_output.items() if k in ("audio", "video")}
    return found + trace.tensors_of(extra)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Without axes of one: the interface gives a list of outputs where the reference gives a batch."""
    return tensor.squeeze()
