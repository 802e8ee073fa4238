"""The requests that a pipeline is compared on: for the reference's ``__call__`` and for vLLM-Omni's request, alike."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from omniport.verify.tokenizers import NEGATIVE, PROMPTS

# The calls of the transformer alone.  The second has one sample and odd lengths: what only fits even splits or pairs of
# samples fails there.
EVEN, ODD = "2 samples, 24 image tokens", "1 sample, 15 image tokens"

STEPS = 4
SEED = 42
HEIGHT, WIDTH = 64, 96  # not square: swapped axes show.  24 image tokens for a VAE of factor 8 with 2x2 patches.
TEXT_TOKENS = 20


@dataclass(frozen=True)
class Case:
    """One request.

    ``prompts`` has several entries for a batch of requests.  ``sampling`` uses the reference's parameter names; those
    that vLLM-Omni names otherwise are in :data:`RENAMED`.  ``image`` asks for the decoded image too.
    """

    name: str
    prompts: tuple[str, ...] = PROMPTS[:1]
    negative: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    image: bool = False
    main: bool = True


RENAMED = {"num_images_per_prompt": "num_outputs_per_prompt", "num_videos_per_prompt": "num_outputs_per_prompt"}


def cases_for(parameters: Collection[str]) -> dict[str, Case]:
    """The cases that a pipeline with these ``__call__`` parameters allows.

    * ``base``: every common argument given.
    * ``guidance left out``, ``defaults``: arguments left out, so that the reference's own defaults must hold; all that
      can be in ``defaults``.
    * ``negative prompt``: true classifier-free guidance, with a negative prompt.
    * ``two images``: two images of one prompt.  ``two prompts``: two requests in one batch.
    """
    common: dict[str, Any] = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": STEPS}
    given = dict(common)
    if "max_sequence_length" in parameters:
        given["max_sequence_length"] = TEXT_TOKENS
    if "guidance_scale" in parameters:
        given["guidance_scale"] = 2.0  # no pipeline's default
    cases = [Case("base", sampling=given, image=True)]
    if "guidance_scale" in given:
        without = {k: v for k, v in given.items() if k != "guidance_scale"}
        cases.append(Case("guidance left out", sampling=without, main=False))
    if len(given) > len(common) + 1:
        cases.append(Case("defaults", sampling=common, main=False))
    if "negative_prompt" in parameters:
        scale = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"
        cases.append(Case("negative prompt", negative=NEGATIVE, sampling={**given, scale: 3.0}))
    for key in ("num_images_per_prompt", "num_videos_per_prompt"):
        if key in parameters:
            cases.append(Case("two images", sampling={**given, key: 2}, main=False))
    cases.append(Case("two prompts", prompts=PROMPTS, sampling=given, main=False))
    return {case.name: case for case in cases}
