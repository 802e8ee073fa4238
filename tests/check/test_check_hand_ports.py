"""What the rules find in the hand-written ports of the installed vllm-omni: the defects known from reading them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from pathlib import Path

import pytest

from omniport.check.engine import Report, check

SPEC = importlib.util.find_spec("vllm_omni")
pytestmark = pytest.mark.skipif(SPEC is None, reason="vllm-omni is not installed")

#: (code, file below diffusion/models) of defects known before the rules were written
KNOWN = {
    ("OP101", "qwen_image/qwen_image_transformer.py"),
    ("OP101", "flux2/flux2_transformer.py"),
    ("OP101", "ernie_image/ernie_image_transformer.py"),
    ("OP101", "krea2/krea2_transformer.py"),
    ("OP101", "hunyuan_video/hunyuan_video_15_transformer.py"),
    ("OP101", "glm_image/glm_image_transformer.py"),
    ("OP101", "stable_audio/stable_audio_transformer.py"),
    ("OP101", "hidream_image/hidream_image_transformer.py"),
    ("OP101", "sdxl/sdxl_unet.py"),
    ("OP102", "flux/flux_transformer.py"),
    ("OP102", "sd3/sd3_transformer.py"),
    ("OP103", "flux/flux_transformer.py"),
    ("OP103", "z_image/z_image_transformer.py"),
    ("OP201", "longcat_image/longcat_image_transformer.py"),
    ("OP201", "sdxl/sdxl_unet.py"),
    ("OP202", "helios/helios_transformer.py"),
    ("OP202", "hidream_image/hidream_image_transformer.py"),
    ("OP202", "ltx2/ltx2_transformer.py"),
    ("OP402", "flux/pipeline_flux.py"),
    ("OP402", "sd3/pipeline_sd3.py"),
    ("OP402", "ovis_image/pipeline_ovis_image.py"),
    ("OP402", "longcat_image/pipeline_longcat_image.py"),
    ("OP402", "longcat_image/pipeline_longcat_image_edit.py"),
    ("OP402", "flux2/pipeline_flux2.py"),
    ("OP402", "flux2_klein/pipeline_flux2_klein.py"),
    ("OP402", "ernie_image/pipeline_ernie_image.py"),
    ("OP402", "sdxl/pipeline_sdxl.py"),
    ("OP402", "z_image/pipeline_z_image.py"),
    ("OP403", "wan2_2/pipeline_wan2_2.py"),
    ("OP403", "hunyuan_video/pipeline_hunyuan_video_1_5.py"),
    ("OP408", "sd3/pipeline_sd3.py"),
    ("OP501", "hidream_image/hidream_image_transformer.py"),
    ("OP501", "sana_video/transformer_sana_video.py"),
    ("OP601", "flux/flux_transformer.py"),
    ("OP601", "hunyuan_video/hunyuan_video_15_transformer.py"),
    ("OP601", "helios/helios_transformer.py"),
    ("OP601", "hidream_image/hidream_image_transformer.py"),
    ("OP204", "krea2/krea2_transformer.py"),
    ("OP204", "ovis_image/ovis_image_transformer.py"),
    ("OP204", "stable_audio/stable_audio_transformer.py"),
    ("OP404", "ernie_image/pipeline_ernie_image.py"),
    ("OP405", "ernie_image/pipeline_ernie_image.py"),
    ("OP406", "flux2_klein/pipeline_flux2_klein.py"),
    ("OP503", "glm_image/glm_image_transformer.py"),
    ("OP503", "hidream_image/hidream_image_transformer.py"),
    ("OP504", "ovis_image/ovis_image_transformer.py"),
    ("OP504", "longcat_image/longcat_image_transformer.py"),
    ("OP504", "sd3/sd3_transformer.py"),
    ("OP504", "sana_video/transformer_sana_video.py"),
    ("OP504", "hidream_image/hidream_image_transformer.py"),
    ("OP506", "sd3/sd3_transformer.py"),
    ("OP506", "flux2_klein/flux2_klein_transformer.py"),
    ("OP607", "flux/flux_transformer.py"),
    ("OP705", "hunyuan_video/hunyuan_video_15_transformer.py"),
    ("OP705", "qwen_image/qwen_image_transformer.py"),
    ("OP803", "z_image/z_image_transformer.py"),
    ("OP803", "stable_audio/stable_audio_transformer.py"),
    ("OP804", "flux2_klein/flux2_klein_transformer.py"),
    ("OP961", "ltx2/ltx2_transformer.py"),
    ("OP602", "longcat_image/longcat_image_transformer.py"),
    ("OP602", "sd3/sd3_transformer.py"),
    ("OP602", "sdxl/sdxl_unet.py"),
    ("OP308", "glm_image/glm_image_transformer.py"),
    ("OP309", "longcat_image/longcat_image_transformer.py"),
    ("OP310", "helios/helios_transformer.py"),
    ("OP311", "wan2_2/wan2_2_vace_transformer.py"),
    ("OP409", "sd3/pipeline_sd3.py"),
    ("OP410", "longcat_image/pipeline_longcat_image_edit.py"),
    ("OP411", "flux2/pipeline_flux2.py"),
    ("OP706", "sd3/pipeline_sd3.py"),
    ("OP706", "sdxl/pipeline_sdxl.py"),
    ("OP707", "krea2/krea2_transformer.py"),
    ("OP963", "hidream_image/hidream_image_transformer.py"),
    ("OP964", "flux2/pipeline_flux2.py"),
    ("OP965", "qwen_image/qwen_image_transformer.py"),
}

#: ports that do it right, or state their choice
RIGHT = {
    ("OP102", "wan2_2/wan2_2_transformer.py"),  # keeps the set of shards
    ("OP102", "boogu_image/boogu_image_transformer.py"),
    ("OP103", "flux2/flux2_transformer.py"),  # dotted
    ("OP103", "qwen_image/qwen_image_transformer.py"),  # tests the fused name too
    ("OP103", "hunyuan_video/hunyuan_video_15_transformer.py"),  # goes on where the new name is no parameter
    ("OP201", "flux/flux_transformer.py"),  # to_qkv.num_heads
    ("OP201", "ovis_image/ovis_image_transformer.py"),  # disable_tp
    ("OP202", "wan2_2/wan2_2_transformer.py"),  # uses the result
    ("OP202", "minimax_h3/encoder.py"),  # a torch process group
    ("OP301", "helios/helios_transformer.py"),  # counts the depth by hand
    ("OP301", "wan2_2/wan2_2_transformer.py"),
    ("OP402", "flux/pipeline_flux_kontext.py"),  # asks guidance_scale_provided
    ("OP402", "wan2_2/pipeline_wan2_2.py"),
    ("OP403", "sana_video/pipeline_sana_video.py"),  # resolve_video_num_frames
    ("OP501", "wan2_2/wan2_2_vace_transformer.py"),  # inherits
    ("OP601", "qwen_image/qwen_image_transformer.py"),  # sets the attribute
    ("OP601", "sana_wm/sana_wm_transformer.py"),  # fused in the checkpoint too
    ("OP602", "flux/flux_transformer.py"),
    ("OP602", "z_image/z_image_transformer.py"),  # quant_config=None where it says so
    ("OP804", "flux2/flux2_transformer.py"),  # passes text_seq_len on
    ("OP803", "qwen_image/qwen_image_transformer.py"),
    ("OP203", "wan2_2/wan2_2_transformer.py"),  # norms that reduce over the ranks
    ("OP206", "wan2_2/wan2_2_transformer.py"),  # QKVParallelLinear tests
    ("OP404", "flux/pipeline_flux.py"),
    ("OP701", "boogu_image/pipeline_boogu_image.py"),  # asks for the device first
    ("OP308", "qwen_image/qwen_image_transformer.py"),  # masks both streams
    ("OP309", "z_image/z_image_transformer.py"),  # rounds up to 32 tokens
    ("OP309", "minimax_h3/minimax_h3_transformer.py"),  # and to 64
    ("OP409", "flux/pipeline_flux.py"),  # packs its latents
    ("OP410", "wan2_2/pipeline_wan2_2_vace.py"),  # asks for the embeddings of the empty prompt
    ("OP411", "flux/pipeline_flux.py"),  # true_cfg_scale
    ("OP706", "flux/pipeline_flux.py"),  # the latents' type, as the reference
    ("OP707", "pi05/modeling_pi05.py"),  # upcasts the weight
    ("OP964", "flux/pipeline_flux.py"),
}


#: the reviewed list: code, file, line, verdict, reason of every finding
REVIEWED = Path(__file__).parents[2] / "docs" / "check-hand-written.md"
VERSION = "0.30.0"


def reviewed() -> list[tuple[str, str, int, str]]:
    cells = [line.strip("| \n").split(" | ") for line in REVIEWED.read_text("utf-8").splitlines()]
    return [(row[0], row[1], int(row[2]), row[3]) for row in cells if len(row) == 5 and row[0].startswith("OP")]


@pytest.fixture(scope="module")
def timed() -> tuple[Report, float]:
    assert SPEC is not None and SPEC.submodule_search_locations
    start = time.process_time()
    report = check([Path(SPEC.submodule_search_locations[0])])
    return report, time.process_time() - start


@pytest.fixture(scope="module")
def found(timed: tuple[Report, float]) -> set[tuple[str, str]]:
    return {(f.code, f.path.rpartition("diffusion/models/")[2]) for f in timed[0].findings}


def test_known_defects_are_found(found: set[tuple[str, str]]) -> None:
    assert KNOWN - found == set()


def test_ports_that_do_it_right_are_left_alone(found: set[tuple[str, str]]) -> None:
    assert RIGHT & found == set()


def test_every_registered_port_is_read_and_is_valid_python(timed: tuple[Report, float]) -> None:
    report, _ = timed
    assert {"flux", "qwen_image", "wan2_2", "z_image"} <= set(report.ports)
    assert "t5_encoder" not in report.ports  # no row in the registry: a part of others
    assert "OP000" not in report.counts()


def test_a_whole_tree_takes_seconds(timed: tuple[Report, float]) -> None:
    report, seconds = timed
    assert report.files > 300
    assert seconds < 10


@pytest.mark.skipif(SPEC is not None and importlib.metadata.version("vllm-omni") != VERSION, reason=f"not {VERSION}")
def test_every_finding_was_reviewed_and_few_are_false_alarms(timed: tuple[Report, float]) -> None:
    found = sorted((f.code, f.path.rpartition("diffusion/models/")[2], f.line) for f in timed[0].findings)
    rows = reviewed()
    judged = {row[:3] for row in rows}
    missing = [
        f"| {code} | {file} | {line} | VERDICT | REASON |"
        for code, file, line in found
        if (code, file, line) not in judged
    ]
    assert not missing, "open each, and add to docs/check-hand-written.md:\n" + "\n".join(missing)
    assert found == sorted(row[:3] for row in rows)
    alarms = sum(verdict == "false alarm" for *_, verdict in rows)
    assert all(verdict in ("defect", "false alarm") for *_, verdict in rows)
    assert alarms < 0.1 * len(rows)
    stated = (
        f"{len(rows)} findings, {len(rows) - alarms} defects, {alarms} false alarms ({100 * alarms / len(rows):.1f} %)"
    )
    assert stated in REVIEWED.read_text("utf-8")
