"""Diffusers' own class alone: that it runs, and that its own faults are told from those of the harness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omniport.corpus.pipeline_run import job_of
from omniport.corpus.pipeline_write import write

pytestmark = pytest.mark.verify
pytest.importorskip("torch")


def alone(name: str, work: Path) -> str:
    from omniport.corpus.pipeline_stages import Job, reference_alone

    job: dict[str, Any] = {k: v for k, v in job_of(write(None, name)).items() if k != "reference"}
    return reference_alone(Job(**{**job, "module": "", "features": ()}), work)["reason"]


def test_a_class_that_has_no_port_and_runs(tmp_path: Path) -> None:
    assert alone("PixArtSigmaPAGPipeline", tmp_path) == ""


def test_a_class_that_fails_by_itself(tmp_path: Path) -> None:
    reason = alone("EasyAnimateControlPipeline", tmp_path)
    assert reason.startswith("diffusers' own class fails: TypeError: ") and "easyanimate_control.py" in reason


def test_an_old_name_is_compared_with_what_it_stands_for() -> None:
    from omniport.corpus.pipeline_stages import Job, old_name
    from omniport.verify.pipelines import RECIPES

    asked = job_of(write(None, "LuminaText2ImgPipeline"))
    assert (asked["name"], asked["old_name"]) == ("LuminaPipeline", "LuminaText2ImgPipeline")
    said = old_name(Job(**{k: v for k, v in asked.items() if k != "reference"}), RECIPES["LuminaText2ImgPipeline"])
    assert said.startswith("LuminaText2ImgPipeline is an old name of LuminaPipeline, which it is compared with; ")
    assert "diffusers' own class fails: ValueError: The deprecation tuple" in said
    assert job_of(write(None, "LuminaPipeline"))["old_name"] == ""


def test_what_the_harness_cannot_do_is_no_fault_of_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omniport.verify.components.vaes import VAES

    monkeypatch.delitem(VAES, "AutoencoderKL")
    assert alone("PixArtSigmaPAGPipeline", tmp_path) == "no recipe makes a tiny AutoencoderKL"
