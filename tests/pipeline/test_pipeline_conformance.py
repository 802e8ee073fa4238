"""Where hand-written ports of vLLM-Omni give other results than diffusers: what the generated ports do."""

from __future__ import annotations

import ast
import functools

import pytest

from omniport.analyse.pipeline import analyse_pipeline
from omniport.hub.synthetic import synthesise
from omniport.plan.model import PipelinePlan
from omniport.rewrite.pipeline.module import render_pipeline
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import port


@functools.cache
def made(name: str) -> tuple[PipelinePlan, str]:
    tree = SourceTree.locate(None)
    plan = analyse_pipeline(tree, name, synthesise(name, tree)[0], DEFAULT, name="x")
    return plan, ast.unparse(ast.parse(render_pipeline(tree, port("x", plan, "X"), DEFAULT)))


def source_of(name: str, argument: str) -> str:
    return next(a.source for a in made(name)[0].arguments if a.name == argument)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("FluxPipeline", "3.5"),
        ("StableDiffusion3Pipeline", "7.0"),
        ("OvisImagePipeline", "5.0"),
        ("LongCatImagePipeline", "4.5"),
        ("Flux2Pipeline", "4.0"),
        ("Flux2KleinPipeline", "4.0"),
        ("ErnieImagePipeline", "4.0"),
        ("ZImagePipeline", "5.0"),
    ],
)
def test_an_omitted_guidance_scale_is_the_references(name: str, default: str) -> None:
    assert (
        source_of(name, "guidance_scale") == f"params.guidance_scale if params.guidance_scale_provided else {default}"
    )


@pytest.mark.parametrize(("name", "default"), [("HunyuanVideoPipeline", "129"), ("WanPipeline", "81")])
def test_an_omitted_number_of_frames_is_the_references(name: str, default: str) -> None:
    found = source_of(name, "num_frames")
    assert found.startswith("resolve_video_num_frames(") and f"default_num_frames={default}," in found


@pytest.mark.parametrize("name", ["CogVideoXPipeline", "LTX2Pipeline"])
def test_a_number_of_frames_that_the_reference_works_out_is_still_the_requests(name: str) -> None:
    assert source_of(name, "num_frames") == "params.num_frames if params.num_frames != 1 else None"


@pytest.mark.parametrize(
    "name", ["StableDiffusion3Pipeline", "FluxPipeline", "Flux2KleinPipeline", "ZImagePipeline", "QwenImagePipeline"]
)
def test_both_branches_are_calls_of_their_own_and_counted_so_by_caches(name: str) -> None:
    plan, text = made(name)
    assert plan.dispatched and "predict_noise_maybe_with_cfg(" in text and "cfg_normalize=True" not in text


def test_several_images_reach_the_prompts_of_sd3() -> None:
    text = made("StableDiffusion3Pipeline")[1]
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and ast.unparse(n.func).endswith("prompt")]
    encoding = [c for c in calls if ast.unparse(c.func) == "self.encode_prompt"]
    assert encoding and all("num_images_per_prompt" in {k.arg for k in c.keywords} for c in encoding)


def test_the_shift_of_sd3_is_of_its_tokens_and_its_time_keeps_its_precision() -> None:
    text = made("StableDiffusion3Pipeline")[1]
    assert "height // self.transformer.patch_size" in text and "image_seq_len = latents.shape[1]" not in text
    assert "timestep = t.expand(latents.shape[0])\n" in text


def test_a_partial_schedule_keeps_its_first_step() -> None:
    for name in ("Flux2KleinInpaintPipeline", "FluxImg2ImgPipeline", "QwenImageImg2ImgPipeline"):
        text = made(name)[1]
        assert "self.get_timesteps(" in text, name
        assert "self.scheduler.set_begin_index(0)" not in text, name


def test_guidance_without_a_negative_prompt() -> None:
    edit = made("LongCatImageEditPipeline")[0]
    guard = next(d.value for d in edit.decisions if d.subject == "guidance guard")
    assert "negative" not in str(guard) and "guidance" in str(guard)
    assert "or None" in source_of("QwenImagePipeline", "negative_prompt")  # there its presence switches guidance on


def test_what_ernie_leaves_out_is_read() -> None:
    names = {a.name for a in made("ErnieImagePipeline")[0].arguments}
    assert {"negative_prompt", "latents", "output_type"} <= names


def test_one_scale_drives_one_guidance() -> None:
    text = made("FluxPipeline")[1]
    assert "true_cfg_scale=true_cfg_scale" in text
    assert source_of("FluxPipeline", "true_cfg_scale") == (
        "params.true_cfg_scale if params.true_cfg_scale is not None else 1.0"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DiTPipeline", "brings no class_labels"),
        ("PRXPipeline", "guidance 0, which the checks refuse"),
        ("WanAnimatePipeline", "brings no pose_video"),
        ("Ideogram4Pipeline", "the checks want one of guidance_scale, guidance_schedule"),
        ("StableAudioPipeline", "brings an array, and initial_audio_waveforms is a tensor"),
        ("FluxPipeline", ""),
        ("WanImageToVideoPipeline", ""),
    ],
)
def test_a_warm_up_that_cannot_run_is_switched_off(name: str, reason: str) -> None:
    plan, text = made(name)
    found = next((d for d in plan.decisions if d.subject == "warm-up"), None)
    assert (found is not None and reason in found.why.reason) if reason else found is None
    assert ("dummy_run_num_frames = 0" in text) is bool(reason)
