"""``model_metadata.py``: what the serving layer must know of a pipeline before it is loaded."""

from __future__ import annotations

from omniport.emit.edits import literals
from omniport.emit.edits.base import Context, Edit

_FILE = "vllm_omni/diffusion/model_metadata.py"
_TABLE = "_DIFFUSION_MODEL_METADATA"


def fields(context: Context) -> dict[str, object]:
    """The fields that differ from their defaults.

    Pipelines with a video need ``final_output_type`` where the tree has it; one image at most is taken from a request
    by every port, so only pipelines that read images declare that they do, and one that reads several sets no limit.
    """
    found: dict[str, object] = {}
    if "image" in context.media:
        found["supports_multimodal_inputs"] = True
        if not context.several_images:
            found["max_multimodal_image_inputs"] = 1
    if context.features.final_output_type and context.plan.pipeline.output == "video":
        found["final_output_type"] = "video"
    return found


def edits(context: Context) -> list[Edit]:
    values = fields(context)
    if not context.features.model_metadata or not values:
        return []
    given = ", ".join(f'{k}="{v}"' if isinstance(v, str) else f"{k}={v}" for k, v in values.items())
    flat = f'"{context.architecture}": DiffusionModelMetadata({given})'
    rows = "".join(f'    {k}="{v}",\n' if isinstance(v, str) else f"    {k}={v},\n" for k, v in values.items())
    row = flat if len(flat) < 114 else f'"{context.architecture}": DiffusionModelMetadata(\n{rows})'

    def add(text: str) -> str:
        literal = literals.assigned(literals.parse(text, _FILE), _TABLE)
        if literal is None or context.architecture in literals.keys(literal):
            return text
        return literals.insert(text, literal, row, _FILE)

    def drop(text: str) -> str:
        literal = literals.assigned(literals.parse(text, _FILE), _TABLE)
        return text if literal is None else literals.remove(text, literal, context.architecture)

    return [Edit(_FILE, add, drop)]
