"""The end-to-end tests of a port: what they send is what the pipeline takes, and what no helper can send is said."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniport.emit.edits.base import Context
from omniport.emit.end_to_end import end_to_end, no_end_to_end
from omniport.plan.model import ArgumentPlan, Why
from tests.support.trees import context

HARNESS = """\
class OmniServerParams: ...
def dummy_messages_from_mix_data(): ...
class Client:
    def send_diffusion_request(self): result.audios = []
    def send_video_diffusion_request(self): image_reference = 1
"""


def made(root: Path, *arguments: str, without: str = "\0", **values: Any) -> Context:
    """A port for a tree with the helpers, but for lines that hold ``without``; ``arguments`` are of its call."""
    helpers = root / "tests/helpers"
    helpers.mkdir(parents=True, exist_ok=True)
    lines = [line for line in HARNESS.splitlines() if without not in line]
    (helpers / "runtime.py").write_text("\n".join(lines))
    for name in ("mark.py", "media.py"):
        (helpers / name).touch()
    found = context(root, **values)
    more = tuple(ArgumentPlan(name, f"params.{name}", None, Why("a test")) for name in arguments)
    pipeline = replace(found.plan.pipeline, arguments=found.plan.pipeline.arguments + more)
    return replace(found, plan=replace(found.plan, pipeline=pipeline))


def request(text: str) -> dict[str, str]:
    """The request of an online test: keys with the source of their values, those of the inner dict among them."""
    (assigned,) = (
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Assign) and "request_config" in ast.unparse(n)
    )
    dicts = [n for n in ast.walk(assigned.value) if isinstance(n, ast.Dict)][:2]
    return {ast.literal_eval(k): ast.unparse(v) for d in dicts for k, v in zip(d.keys, d.values, strict=True) if k}


def files(found: Context) -> tuple[str, str]:
    """Online and offline test."""
    assert no_end_to_end(found) == ""
    texts = end_to_end(found, "# SPDX")
    assert all(ast.parse(text) for text in texts.values())
    online = next(text for path, text in texts.items() if "online_serving" in path)
    return online, next((text for path, text in texts.items() if "offline" in path), "")


def test_guidance_is_switched_on_where_ranks_share_its_branches(tmp_path: Path) -> None:
    sent = request(files(made(tmp_path, "negative_prompt", "true_cfg_scale"))[0])
    assert sent["true_cfg_scale"] == "4.0" and sent["negative_prompt"] == "'blurry, low quality'"
    assert "guidance_scale" not in sent
    sent = request(files(made(tmp_path, "guidance_scale"))[0])
    assert sent["guidance_scale"] == "4.0" and "negative_prompt" not in sent
    plain = made(tmp_path, "guidance_scale", "negative_prompt")
    plain = replace(plain, plan=replace(plain.plan, pipeline=replace(plain.plan.pipeline, cfg="embedded")))
    assert not {"guidance_scale", "negative_prompt"} & request(files(plain)[0]).keys()


def test_a_picture_is_sent_where_the_pipeline_takes_one(tmp_path: Path) -> None:
    online, offline = files(made(tmp_path, media="image"))
    assert "image_data_url=image" in request(online)["messages"] and '"image": Image.new(' in offline
    online, offline = files(made(tmp_path, media="image, last_image", output="video"))
    assert request(online)["image_reference"] == "image" and request(online)["num_frames"] == "25"
    assert "shape[1:4] == (25, 480, 640)" in offline
    online, offline = files(made(tmp_path))
    assert "image" not in request(online)["messages"] and "Image" not in offline


def test_sound_is_asked_for_by_text(tmp_path: Path) -> None:
    found = made(tmp_path, media="audio", output="audio")
    assert found.task == "text-to-audio"
    online, offline = files(found)
    assert request(online)["num_inference_steps"] == "2" and "height" not in request(online) and offline == ""


@pytest.mark.parametrize(
    ("values", "without", "reason"),
    [
        ({"model_id": ""}, "\0", "the id of a published checkpoint is not known"),
        ({}, "OmniServerParams", "the tree's test harness has another form (no OmniServerParams)"),
        ({"media": "control_image"}, "\0", "no helper of the tree sends control_image"),
        ({"media": "image, mask_image"}, "\0", "no helper of the tree sends mask_image"),
        ({"output": "video"}, "send_video", "the tree's test client has no send_video_diffusion_request"),
        ({"output": "audio"}, "audios", "the tree's test client has no send_diffusion_request"),
        ({"media": "image"}, "dummy", "the tree's test client has no dummy_messages_from_mix_data"),
        ({"output": "unknown"}, "\0", "it is not known what the pipeline gives"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, values: dict[str, Any], without: str, reason: str) -> None:
    assert no_end_to_end(made(tmp_path, without=without, **values)) == reason
