"""The files of a port beside its model folder: unit tests, end-to-end tests, recipe; each where the tree keeps such."""

from __future__ import annotations

import re
from pathlib import Path

from omniport.emit.edits.base import Context
from omniport.emit.edits.recipe_row import recipe_path
from omniport.emit.end_to_end import ONLINE, end_to_end, marks, no_end_to_end
from omniport.emit.render import render
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
_UNIT = "tests/diffusion/models"
_EXAMPLES = {
    "text-to-image": "text_to_image/text_to_image.py",
    "text-to-video": "text_to_video/text_to_video.py",
    "text-to-audio": "text_to_audio/text_to_audio.py",
    "image-to-video": "image_to_video/image_to_video.py",
    "image-to-image": "image_to_image/image_edit.py",
}


def tree_files(context: Context, spdx: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Path -> text of each file, and notes on those that the tree asks for and that could not be made."""
    files: dict[str, str] = {}
    notes: list[str] = []
    if (context.root / _UNIT).is_dir():
        files |= _unit(context, spdx)
        if why := _no_weights(context):
            notes.append(f"no test of the weights: {why}")
    if (context.root / ONLINE).is_dir():
        reason = no_end_to_end(context)
        if reason:
            notes.append(f"no end-to-end tests: {reason}")
        else:
            files |= end_to_end(context, spdx)
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
        marks=[m for m in ("core_model", "diffusion", "cpu") if m in marks(context.root, ("core_model", "cpu"))],
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
