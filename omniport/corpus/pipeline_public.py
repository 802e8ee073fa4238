"""One call of a pipeline through vLLM-Omni's public ``Omni(model=path).generate(...)``.  Runs in a forked child."""

from __future__ import annotations

import inspect
import json
import zlib
from pathlib import Path
from typing import Any

import torch

from omniport.corpus.pipeline_stages import OUTPUT, Job, reference_class
from omniport.corpus.results import StageError
from omniport.hub.index import INDEX_FILE
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
    checkpoint = work / f"{job.key}.checkpoint"
    staged = staged_by_vllm_omni(json.loads((checkpoint / INDEX_FILE).read_text("utf-8"))["_class_name"])
    omni = Omni(
        model=str(renamed(checkpoint, port.architecture, work) if staged else checkpoint),
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
    detail = f"{answer.final_output_type}, {len(got)} tensors"
    if staged:
        detail += f"; under the port's own name, as vLLM-Omni serves {job.name} itself, {staged}"
    return {"figure": error, "reason": fault, "detail": detail}


def staged_by_vllm_omni(class_name: str) -> str:
    """The stages in which vLLM-Omni itself serves every model whose index names ``class_name``; empty if it does not.

    Such a model gets vLLM-Omni's own classes whatever ``model_class_name`` is asked for.
    """
    from vllm_omni.config.pipeline_registry import OMNI_PIPELINES

    for found in OMNI_PIPELINES.values():
        config = found(None) if callable(found) else found
        if config is not None and class_name in (config.diffusers_class_name, *config.diffusers_class_aliases):
            return f"in stages {', '.join(stage.model_stage for stage in config.stages)}"
    return ""


def renamed(checkpoint: Path, architecture: str, work: Path) -> Path:
    """The same checkpoint in a folder that tells nothing, with an index that names the port's own class."""
    folder = work / f"served.{zlib.crc32(checkpoint.name.encode()):08x}"
    folder.mkdir()
    for part in checkpoint.iterdir():
        if part.name != INDEX_FILE:
            (folder / part.name).symlink_to(part)
    index = json.loads((checkpoint / INDEX_FILE).read_text("utf-8"))
    (folder / INDEX_FILE).write_text(json.dumps({**index, "_class_name": architecture}), "utf-8")
    return folder


def _media(answer: Any) -> list[torch.Tensor]:
    """The tensors of an answer: its pictures or frames, and its sound."""
    found = trace.tensors_of(answer.images)
    extra = {k: v for k, v in answer.multimodal_output.items() if k in ("audio", "video")}
    return found + trace.tensors_of(extra)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Without axes of one: the interface gives a list of outputs where the reference gives a batch."""
    return tensor.squeeze()
