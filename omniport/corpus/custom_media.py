"""What readers found the packages of :mod:`omniport.corpus.custom` to take and to give.

``None`` for the inputs: functions of the package differ in what they take, so that the port must ask.
"""

from __future__ import annotations

from omniport.plan.custom import CustomPlan

#: distribution -> output, and what goes in besides text
MEDIA: dict[str, tuple[str | None, tuple[str, ...] | None]] = {
    "OmniGen": ("image", ("image",)),  # input_images, a list
    "wan22": ("video", None),  # WanModel serves WanT2V, WanI2V and WanTI2V
    "ltx-video": ("video", ("image", "video")),  # conditioning items are pictures or clips
    "f5-tts": ("audio", ("audio",)),  # the voice to speak with
    "tangoflux": ("audio", ()),
    "cosmos-predict2": ("video", None),  # one pipeline goes on from a picture, others from actions or a video
    "dit-ml": (None, None),  # a denoiser alone
}


def wrong(requirement: str, plan: CustomPlan) -> list[str]:
    """Where the reader of media differs from what is in the package."""
    expected = MEDIA.get(requirement.split("==")[0])
    media = plan.media
    if expected is None or media is None:
        return [f"media: {'no expectation' if expected is None else 'not read'}"]
    output, inputs = expected
    found = [] if media.output == output else [f"output: {media.output or 'asked'}, not {output or 'asked'}"]
    asks = any(" goes in" in question.reason for question in media.questions)
    if asks != (inputs is None):
        found.append(f"inputs: {'asked' if asks else 'not asked'}")
    elif inputs is not None and set(inputs) != set(media.inputs):
        found.append(f"inputs: {', '.join(media.inputs) or 'none'}, not {', '.join(inputs) or 'none'}")
    return found
