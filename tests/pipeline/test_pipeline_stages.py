"""Whether stages of a pipeline can share the denoiser: what a loop may do, and what keeps it whole."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.pipeline_stages import stages
from omniport.plan.model import Decision, Why
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import guided
from tests.pipeline.helpers import function

DENOISERS = Denoisers((("self.transformer", ("hidden_states", "timestep", "encoder_hidden_states", "return_dict")),))
DECODE = "image = self.vae.decode(latents, return_dict=False)[0]"


def entry(before: str = "", after: str = "", step: str = "", decode: str = DECODE, tail: str = "") -> str:
    text = textwrap.dedent(
        """
        def __call__(self, latents, ts, scale):
            guided = scale > 1
            if guided:
                negative = encode()
            positive = encode()
            for t in ts:
                BEFORE
                pred = self.transformer(latents, t, positive, return_dict=False)[0]
                if guided:
                    neg = self.transformer(latents, t, negative, return_dict=False)[0]
                    pred = neg + scale * (pred - neg)
                STEP
                latents = self.scheduler.step(pred, t, latents, return_dict=False)[0]
                AFTER
            DECODE
            TAIL
            return (image,)
        """
    )
    parts = {"BEFORE": before, "STEP": step, "AFTER": after, "DECODE": decode, "TAIL": tail}
    for name, part in parts.items():
        text = text.replace(name, part or "pass")
    return "\n".join(line for line in text.splitlines() if line.strip() != "pass") + "\n"


def asked(text: str, results: str = "latents", combine: str = "default", form: str = "first") -> tuple[bool, str]:
    why = Why("")
    known = {"guidance combine": combine, "prediction": form, "diffuse results": results}
    decisions = tuple(Decision(subject, value, why) for subject, value in known.items())
    return stages(guided(function(text), DENOISERS), None, decisions, DENOISERS, "pipeline.py", 1)


def test_one_prediction_and_one_step_a_round() -> None:
    yes, reason = asked(entry())
    assert yes, reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (entry(before="latents = self.scheduler.scale_model_input(latents, t)"), "reads the scheduler"),
        (entry(step="pred = -pred"), "before the step"),
        (entry(after="latents = latents * mask"), "behind the step"),
        (entry(tail="image = crop(image)"), "goes on with what is decoded"),
        (entry(tail="if image.ndim == 4:\n        image = 1"), "a condition reads"),
        (entry(decode="image = self.vae.decode(latents).sample"), "read as an object"),
        (entry(decode="image = self.decode(latents)"), "in one statement"),
    ],
)
def test_what_keeps_the_loop_whole(text: str, reason: str) -> None:
    yes, said = asked(text)
    assert not yes and reason in said


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"results": "latents, pred"}, "leaves more behind"),
        ({"combine": "own"}, "combines the predictions itself"),
        ({"form": "whole"}, "combines the predictions itself"),
    ],
)
def test_what_was_decided_about_guidance_keeps_it_whole(changed: dict[str, str], reason: str) -> None:
    yes, said = asked(entry(), **changed)
    assert not yes and reason in said


def test_a_loop_without_guidance_is_left_whole() -> None:
    text = entry().replace("        if guided:\n            neg =", "        if False:\n            neg =")
    without = "\n".join(line for line in text.splitlines() if "neg" not in line and "if False" not in line) + "\n"
    yes, said = asked(without.replace("if guided:\n    positive", "positive").replace("    if guided:\n", ""))
    assert not yes and "mixin" in said
