"""Start-up requests of the engine that a pipeline cannot run, by what its source asks of them."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from omniport.analyse.pipeline_arguments import media_keys
from omniport.analyse.pipeline_warm_up import no_warm_up
from omniport.plan.model import ArgumentPlan, Why
from omniport.source.tree import SourceModule

PIPELINE = """
BIN = {"0.5": [320.0, 640.0], "1.0": [624.0, 624.0]}


class Pipeline:
    def check_inputs(self, prompt, height, width, task, other):
        if prompt is None:
            raise ValueError("no prompt")
        CHECK

    def helper(self, latents):
        HELPER
        return latents

    def __call__(self, prompt=None, image=None, height=None, width=None, num_frames=81, task=None, other=None, MORE):
        self.check_inputs(prompt, height, width, task, other)
        BODY
"""

DENOISER = """
class Denoiser:
    def forward(self, x, face=None):
        BODY
        return x
"""


def cold(
    check: str = "pass", helper: str = "pass", body: str = "pass", more: str = "y=1", forward: str = "pass"
) -> str:
    filled = {"CHECK": check, "HELPER": helper, "BODY": body, "MORE": more}
    text = PIPELINE
    for name, value in filled.items():
        text = text.replace(name, textwrap.indent(value, "        ").strip())
    module = SourceModule("pipe", Path("pipe.py"), "pipe.py", text)
    node = module.ast.body[-1]
    denoiser = ast.parse(DENOISER.replace("BODY", textwrap.indent(forward, "        ").strip())).body[0]
    assert isinstance(node, ast.ClassDef) and isinstance(denoiser, ast.ClassDef)
    call = node.body[-1]
    assert isinstance(call, ast.FunctionDef)
    why, extra = Why("prompt: the prompt"), Why("extra: no field of its own")
    names = [a.arg for a in call.args.args[1:]]
    found = [
        ArgumentPlan(n, 'media.get("image")' if n == "image" else f"params.{n}", "None", why if n != "face" else extra)
        for n in names
    ]
    return no_warm_up(node, call, found, [module], denoiser)[0]


def test_a_plain_pipeline_is_warmed_up() -> None:
    assert cold() == ""


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("if task is None and other is None:\n    raise E", "the checks want one of other, task"),
        ("if task is None:\n    raise E", "the checks want one of task"),
        ("if task is None and prompt is None:\n    raise E", ""),  # the prompt is there
        ("if image is None:\n    raise E", ""),
        ("if task is None or other is None:\n    raise E", ""),  # another condition
        ("if task is None and other is None:\n    task = 1", ""),
        ('if "<image>" not in prompt:\n    raise E', "the checks look for '<image>' in the prompt"),
        ('if not all(f"<{i}>" in prompt[k] for i in x):\n    raise E', "the checks look for f'<{i}>' in the prompt"),
        ('if "<image>" not in task:\n    raise E', ""),
        ("if word not in prompt:\n    raise E", ""),
    ],
)
def test_checks_that_the_request_does_not_pass(check: str, reason: str) -> None:
    assert cold(check).startswith(reason) and bool(cold(check)) is bool(reason)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        ("face = face.to(x)", "the denoiser reads face"),
        ("if self.train:\n    x = [f.a for f in face.b]", "the denoiser reads face"),
        ("if face is not None:\n    face = face.to(x)", ""),
        ("x = x if face is None else face.to(x)", ""),
        ("x = face", ""),
    ],
)
def test_what_the_denoiser_needs_of_an_extra_argument(forward: str, reason: str) -> None:
    given = {"more": "face=None", "body": "self.transformer(x, face=face)", "forward": forward}
    assert cold(**given).startswith(reason) and bool(cold(**given)) is bool(reason)
    stored = {**given, "body": "face = self.find(face)\nself.transformer(x, face=face)"}
    assert cold(**stored) == ""


@pytest.mark.parametrize(
    ("helper", "off"),
    [
        ('if latents.shape[1] <= 1:\n    return (latents, "one frame")', True),
        ('if latents.shape[1] <= 4:\n    return (latents, "few")', False),
        ("if latents.shape[1] <= 1:\n    return (latents, latents)", False),
        ("if latents.shape[1] <= 1:\n    return latents", False),
    ],
)
def test_a_helper_that_answers_otherwise_for_one_frame(helper: str, off: bool) -> None:
    assert ("one frame" in cold(helper=helper)) is off


@pytest.mark.parametrize(
    ("divisor", "default", "body", "off"),
    [
        (32, True, "self.bins = BIN", True),
        (16, True, "self.bins = BIN", False),  # 624 is 39 times 16
        (32, False, "self.bins = BIN", False),
        (32, True, "pass", False),  # a table that it does not use
    ],
)
def test_a_square_that_the_checks_refuse(divisor: int, default: bool, body: str, off: bool) -> None:
    check = f"if height % {divisor} != 0 or width % {divisor} != 0:\n    raise E"
    assert ("falls into the bin" in cold(check, more=f"use_resolution_binning={default}", body=body)) is off


@pytest.mark.parametrize(
    ("body", "off"),
    [
        ("m = self.generate_timestep_matrix(frames, prefix_video_latents_frames)", True),
        ("m = self.generate_timestep_matrix(frames, 0)", False),
        ("m = self.other(frames, prefix_video_latents_frames)", False),
    ],
)
def test_a_picture_that_is_the_one_frame(body: str, off: bool) -> None:
    assert ("the one frame" in cold(body=body)) is off


def test_media_are_found_inside_an_expression() -> None:
    one = ArgumentPlan("images", 'one if isinstance(one := media.get("image"), list) else [one]', "None", Why("w"))
    other = ArgumentPlan("x", 'params.extra_args.get("image")', "None", Why("w"))
    assert media_keys([one, other]) == ["image"]
