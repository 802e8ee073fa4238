"""The files of a port beside its model folder: unit tests, end-to-end tests, recipe; each where the tree keeps such."""

from __future__ import annotations

import re
from pathlib import Path

from omniport.emit.edits.base import Context
from omniport.emit.edits.recipe_row import recipe_path
from omniport.emit.render import render
from omniport.records import dataclass
from omniport.target.tree import MODELS_FOLDER

#: Classes whose constructor's own defaults build no model: tests of their weights need a published configuration.
_INCOMPLETE = {
    "EasyAnimateTransformer3DModel": "in_channels and patch_size are None",
    "HiDreamImageTransformer2DModel": "patch_size is None",
    "HunyuanDiT2DModel": "in_channels and patch_size are None",
    "LatteTransformer3DModel": "in_channels and patch_size are None",
    "LuminaNextDiT2DModel": "num_kv_heads is None",
    "OmniGenTransformer2DModel": "rope_scaling is None",
}
_ONLINE, _OFFLINE, _UNIT = "tests/e2e/online_serving", "tests/e2e/offline_inference", "tests/diffusion/models"
_EXAMPLES = {
    "text-to-image": "text_to_image/text_to_image.py",
    "text-to-video": "text_to_video/text_to_video.py",
    "text-to-audio": "text_to_audio/text_to_audio.py",
    "image-to-video": "image_to_video/image_to_video.py",
    "image-to-image": "image_to_image/image_edit.py",
}


@dataclass(frozen=True)
class Case:
    """One server of the online test: its arguments, and the number of cards it takes."""

    id: str
    arguments: list[str]
    cards: int = 1


def tree_files(context: Context, spdx: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Path -> text of each file, and notes on those that the tree asks for and that could not be made."""
    files: dict[str, str] = {}
    notes: list[str] = []
    if (context.root / _UNIT).is_dir():
        files |= _unit(context, spdx)
        if why := _no_weights(context):
            notes.append(f"no test of the weights: {why}")
    if (context.root / _ONLINE).is_dir():
        reason = _no_end_to_end(context)
        if reason:
            notes.append(f"no end-to-end tests: {reason}")
        else:
            files |= _end_to_end(context, spdx)
    path = recipe_path(context)
    if path:
        files[path] = _recipe(context, path)
    elif (context.root / "recipes").is_dir():
        notes.append("no recipe: the id of a published checkpoint is not known")
    return files, tuple(notes)


# ----------------------------------------------------------------------------------------------------------- unit tests
def _unit(context: Context, spdx: str) -> dict[str, str]:
    plan, transformer, features = context.plan, context.plan.transformer, context.features
    folder = f"{_UNIT}/{plan.name}"
    fused: dict[str, list[tuple[str | None]]] = {}
    for weight in transformer.weights:
        fused.setdefault(weight.parameter, []).append((weight.shard,))
    code = render(
        "tree/test_unit.py.j2",
        spdx=spdx,
        display=context.display,
        name=plan.name,
        package=f"{MODELS_FOLDER.replace('/', '.')}.{plan.name}",
        marks=[m for m in ("core_model", "diffusion", "cpu") if m in _marks(context.root, ("core_model", "cpu"))],
        architecture=context.architecture,
        pipeline_class=plan.pipeline.class_name,
        transformer_class=transformer.class_name,
        post_process=plan.pipeline.post_process,
        declared=bool(features.component_protocol),
        parameters=tuple(transformer.parameters),
        first=2,  # behind self and od_config
        reference="" if _no_weights(context) else transformer.module,
        config=dict(context.config),
        set_config=not _vllm_config_is_set(context.root),
        staged=plan.staged and features.pipeline_parallel,
        stacked=[(f".{w.parameter}", f".{w.checkpoint}", w.shard) for w in transformer.weights],
        fused=fused,
        blocks=list(dict.fromkeys(block.attribute for block in transformer.blocks if not block.optional)),
        layerwise=features.offload_attr if context.supports("layerwise offload") else "",
        hsdp=features.hsdp and context.supports("hsdp"),
        sp=bool(transformer.sp),
    )
    return {f"{folder}/__init__.py": "", f"{folder}/test_{plan.name}.py": code}


def _no_weights(context: Context) -> str:
    """Why no test can build the reference beside the port; empty if one can."""
    transformer = context.plan.transformer
    if not transformer.module.startswith("diffusers."):
        return "the original is no class of diffusers, and its code is not imported"
    if transformer.class_name in _INCOMPLETE and not context.config:
        reason = _INCOMPLETE[transformer.class_name]
        return f"{transformer.class_name} cannot be built with its defaults ({reason}); give the id of a checkpoint"
    return ""


def _vllm_config_is_set(root: Path) -> bool:
    """Whether the tree's own fixtures set a configuration of vLLM for every test, which its layers are built with."""
    files = (root / "tests/conftest.py", root / "tests/helpers/fixtures/env.py")
    texts = [path.read_text("utf-8", errors="replace") for path in files if path.is_file()]
    return any(re.search(r"autouse=True\)\ndef default_vllm_config\(", text) for text in texts)


def _marks(root: Path, known: tuple[str, ...]) -> set[str]:
    """The pytest marks that the tree declares; ``known`` where it declares none."""
    path = root / "pyproject.toml"
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    found = set(re.findall(r'^\s*"(\w+)(?:\([^"]*\))?: ', text.partition("markers = [")[2], re.M))
    return found or {*known, "diffusion"}


# ---------------------------------------------------------------------------------------------------- end-to-end tests
def _harness(root: Path) -> Path | None:
    """The module that holds the servers and clients of the end-to-end tests."""
    for name in ("tests/helpers/runtime.py", "tests/conftest.py"):
        path = root / name
        if path.is_file() and "class OmniServerParams" in path.read_text("utf-8", errors="replace"):
            return path
    return None


def _no_end_to_end(context: Context) -> str:
    """Why no end-to-end tests can be written; empty if they can."""
    if not context.model_id:
        return "the id of a published checkpoint is not known"
    harness = _harness(context.root)
    if harness is None:
        return "the tree's test harness has another form (no OmniServerParams)"
    if context.media or context.plan.pipeline.output in ("audio", "unknown"):
        return f"there is no form for {context.task} yet"
    text = harness.read_text("utf-8", errors="replace")
    method = "send_video_diffusion_request" if context.plan.pipeline.output == "video" else "send_diffusion_request"
    return "" if f"def {method}(" in text else f"the tree's client has no {method}"


def _end_to_end(context: Context, spdx: str) -> dict[str, str]:
    cases = _cases(context)
    values = {
        "spdx": spdx,
        "display": context.display,
        "task": context.task,
        "name": context.plan.name,
        "model_id": context.model_id,
        "helpers": (context.root / "tests/helpers/mark.py").is_file(),
        "level": "full_model" if "full_model" in _marks(context.root, ()) else "advanced_model",
        "output": context.plan.pipeline.output,
        "height": 512 if context.plan.pipeline.output == "image" else 480,
        "width": 512 if context.plan.pipeline.output == "image" else 640,
        "frames": 5,
        "cases": cases,
        "parallel": any(case.cards > 1 for case in cases),
    }
    name = context.plan.name
    return {
        f"{_ONLINE}/test_{name}_expansion.py": render("tree/test_online.py.j2", **values),
        f"{_OFFLINE}/test_{name}_expansion.py": render("tree/test_offline.py.j2", **values),
    }


def _cases(context: Context) -> list[Case]:
    """The model by itself, and one case for each feature that the port declares."""
    cases = [Case("single_card", [])]
    if context.supports("cache-dit"):
        cases.append(Case("cache_dit", ["--cache-backend", "cache_dit"]))
    if context.supports("layerwise offload"):
        cases.append(Case("layerwise_offload", ["--enable-layerwise-offload"]))
    if context.supports("tensor parallelism"):
        cases.append(Case("tp_2", ["--tensor-parallel-size", "2"], 2))
    if context.plan.transformer.sp:
        cases.append(Case("ulysses_2", ["--usp", "2"], 2))
    if context.guided:
        cases.append(Case("cfg_parallel_2", ["--cfg-parallel-size", "2"], 2))
    if context.supports("hsdp"):
        cases.append(Case("hsdp_2", ["--use-hsdp", "--hsdp-shard-size", "2"], 2))
    return cases


# --------------------------------------------------------------------------------------------------------------- recipe
def _recipe(context: Context, path: str) -> str:
    script = _EXAMPLES.get(context.task)
    example = f"examples/offline_inference/{script}" if script else ""
    return render(
        "tree/recipe.md.j2",
        display=context.display,
        task=context.task,
        vendor=path.split("/")[1],
        model_id=context.model_id,
        reference=f"{context.plan.pipeline.module}.{context.plan.pipeline.class_name}",
        source=context.plan.model.source,
        example=example if example and (context.root / example).is_file() else "",
    )
