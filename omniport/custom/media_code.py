"""What vLLM-Omni reads of a pipeline's media: protocols, class attributes, and the decisions behind the metadata row.

Video has no protocol: it is ``final_output_type`` of the metadata, which the edits of the tree write from the plan.
"""

from __future__ import annotations

from omniport.emit.render import comment
from omniport.plan.custom import MediaPlan
from omniport.plan.model import Decision

_INPUTS = {"image": ("SupportImageInput", "support_image_input"), "audio": ("SupportAudioInput", "support_audio_input")}


def bases(media: MediaPlan) -> list[str]:
    """Protocols of ``vllm_omni.diffusion.models.interface``."""
    found = [_INPUTS[kind][0] for kind in media.inputs if kind in _INPUTS]
    return found + (["SupportAudioOutput"] if media.output == "audio" else [])


def attributes(media: MediaPlan) -> list[str]:
    """Lines of the class: vLLM-Omni reads attributes of it, and never asks for the protocol."""
    lines = [f"{_INPUTS[kind][1]}: ClassVar[bool] = True" for kind in media.inputs if kind in _INPUTS]
    if media.color_format != "RGB":
        lines.append(f'color_format: ClassVar[str] = "{media.color_format}"')
    if media.output == "audio":
        lines.append("support_audio_output: ClassVar[bool] = True")
    if media.sample_rate is not None:
        lines.append(f"audio_sample_rate: ClassVar[int] = {media.sample_rate}")
    if media.warm_up is not None:
        lines.append(f"# no start-up request: {comment(media.warm_up.reason)}")
        lines.append("dummy_run_num_frames: ClassVar[int] = 0")
    return lines


def media_decisions(media: MediaPlan) -> tuple[Decision, ...]:
    """The plan's decisions, which the rows of the tree are made from."""
    found = [Decision("output", media.output, why) for why in media.output_why]
    if media.inputs:
        found.append(Decision("media", ", ".join(media.inputs), media.inputs_why[0]))
    if media.several:
        found.append(Decision("several images", True, media.inputs_why[media.inputs.index("image")]))
    if media.warm_up is not None:
        found.append(Decision("warm-up", False, media.warm_up))
    return tuple(found)


def question(media: MediaPlan) -> str:
    """What is left to say, and how."""
    told = [f"{why.file}:{why.line}: {why.reason}" if why.file else why.reason for why in media.questions]
    return f"{'; '.join(told)}. Say it with --media, as image, text-to-video or images-to-image"
